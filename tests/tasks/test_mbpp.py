import json

import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.mbpp import MBPP_PLUS


def test_what_is_tested_is_what_the_assertions_call(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["mbppplus"]))
    first, second = MBPP_PLUS.load(str(path)).tasks
    assert (first.metadata["functions"], second.metadata["functions"]) == (["common"], ["area"])
    assert "assert common((1,), (3,)) == ()" in first.text and "inputs" not in first.text
    assert second.metadata["tests"].startswith("import math\nassert")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test_list": ["assert other(1) == 1"]}, "no function in its code that its test_list calls"),
        ({"test_list": None}, "no function in its code"),
        ({"code": "def f(:"}, "code of .* is no Python"),
    ],
)
def test_rows_without_a_function_to_test_are_refused(change, said, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(HUB_ROWS["mbppplus"][0] | change) + "\n")
    with pytest.raises(InputError, match=said):
        MBPP_PLUS.load(str(path))
