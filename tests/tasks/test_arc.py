import json

import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.arc import ARC_CHALLENGE, ARC_EASY


def test_numbered_options_get_letters(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["arc_easy"]))
    first, second = ARC_EASY.load(str(path)).tasks
    assert (first.answer, second.answer) == ("A", "B")
    assert second.options == {"A": "snow", "B": "fire", "C": "rain"}
    assert second.text == "What is hot?\n\nA: snow\nB: fire\nC: rain"


@pytest.mark.parametrize(
    "change", [{"answerKey": "E"}, {"choices": None}, {"choices": {"text": ["a"], "label": ["A", "B"]}}]
)
def test_options_that_do_not_fit_are_refused(change, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(HUB_ROWS["arc_easy"][0] | change) + "\n")
    with pytest.raises(InputError, match=r"arc_challenge/test/0 in .* no options that fit"):
        ARC_CHALLENGE.load(str(path))
