import json
from pathlib import Path

import pytest

from hub_rows import HUB_ROWS
from interlat.tasks.grading import grade
from interlat.tasks.humaneval import HUMANEVAL, HUMANEVAL_PLUS
from interlat.tasks.verification import verified

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
