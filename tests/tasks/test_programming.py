"""Programs are tested as EvalPlus does; the forms of assertion that the hub's tests have, in our own words."""

import json
from pathlib import Path

import numpy
import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.grading import grade
from interlat.tasks.programming import HUMANEVAL, HUMANEVAL_PLUS, MBPP_PLUS, complete
from interlat.tasks.verification import verified

CLOSE = """import numpy as np

def assertion(out, exp, atol):
    same = out == exp
    if not same and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert same, f"{out}"
"""
SETS = """import numpy as np

def assertion(out, exp, atol):
    out = set(out)
    exp = set(exp)
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp
"""
NEVER = """def assertion(out, exp, atol):
    if isinstance(out, bool):
        exact_match = out == exp
    else:
        exact_match = exp == (out is not None)

inputs = [1]
"""


def accepts(tests, out, exp, atol=1e-6):
    names = {"numpy": numpy}
    exec(tests, names)
    try:
        names["assertion"](out, exp, atol)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("tests", "out", "exp", "before", "after"),
    [
        (CLOSE, [], 1.5, True, False),
        (CLOSE, [1.5], 1.5, True, False),
        (CLOSE, [1.5], [1.5, 1.5], True, False),
        (CLOSE, (1.5000001,), [1.5], True, False),
        (CLOSE, 1.5000001, 1.5, True, True),
        (CLOSE, [1.5000001, 2.0], [1.5, 2.0], True, True),
        (CLOSE, 2, 2.0, True, True),
        (CLOSE, 1.6, 1.5, False, False),
        (SETS, [1, 2], (2, 1), True, True),
        (SETS, [1, 3], (2, 1), None, None),
        (NEVER, None, True, True, False),
        (NEVER, "match", True, True, True),
        (NEVER, "match", False, True, False),
        (NEVER, True, False, True, False),
        (NEVER, False, False, True, True),
    ],
)
def test_what_the_tests_accept_before_and_after(tests, out, exp, before, after):
    if before is None:
        with pytest.raises(TypeError):
            accepts(complete(tests), out, exp)
        return
    assert accepts(tests, out, exp) is before and accepts(complete(tests), out, exp) is after


@pytest.mark.parametrize(
    "tests",
    ["assert f(1) == 2", "def assertion(out):\n    assert out", "def check(f):\n    assert f(1) == [2]\n", SETS],
)
def test_other_tests_stay_as_they_are(tests):
    assert complete(tests) == tests


REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "HumanEval.jsonl.gz"


def test_a_reply_may_leave_out_the_helper_functions_that_were_given(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["humaneval"]))
    first, second = HUMANEVAL_PLUS.load(str(path)).tasks
    assert first.metadata["functions"] == ["quarter"] and first.metadata["tests"].endswith("\ncheck(quarter)\n")
    assert grade("```python\ndef quarter(n):\n    return half(n) // 2\n```", first).correct
    assert not grade("```python\ndef quarter(n):\n    return half(n)\n```", first).correct
    assert grade("Here it is:\n```py\ndef total(numbers: List[int]):\n    return sum(numbers)\n", second).correct


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the real problems are not on this machine")
def test_the_real_solutions_pass_and_corrupted_ones_do_not():
    found = list(verified(HUMANEVAL.load(str(REAL)).tasks))
    assert len(found) == 164 and all(one.reference.correct and not one.corrupted.correct for one in found)


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
        ({"test_list": 7}, "test_list of .* is 7, expected a list of lines"),
        ({"test_list": [1]}, r"test_list of .* is \[1\], expected a list of lines"),
        ({"test_imports": "import math"}, "test_imports of .* is 'import math', expected a list of lines"),
        ({"code": "def f(:"}, "code of .* is no Python"),
    ],
)
def test_rows_without_a_function_to_test_are_refused(change, said, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(HUB_ROWS["mbppplus"][0] | change) + "\n")
    with pytest.raises(InputError, match=said):
        MBPP_PLUS.load(str(path))
