import json
from dataclasses import replace
from pathlib import Path

import pytest

from interlat.tasks.base import Task
from interlat.tasks.graders.code import CODE
from interlat.tasks.sandbox.execution import Limits

TASK = Task(
    "t",
    "Double a number.",
    "def double(n):\n    return 2 * n",
    metadata={
        "tests": "assert double(2) == 4 and double(-1) == -2\n",
        "functions": ["double"],
        "before": "import math\n",
    },
    grader="code",
)
RIGHT = "def double(n):\n    return n + n\n"


@pytest.mark.parametrize("reply", ["", "I cannot.", "```bash\nls\n```", "double", "1 + 1", "```\u00e4"])
def test_a_reply_without_a_program_is_unparsed(reply):
    verdict = CODE.grade(reply, TASK)
    assert (verdict.correct, verdict.how, verdict.reason) == (False, "unparsed", "there is no program in the reply")


def test_programs_are_judged_by_the_tests():
    right = CODE.grade(f"```python\n{RIGHT}```", TASK)
    assert right.correct and right.how == "executed" and "seccomp" in right.isolation
    wrong = CODE.grade("```python\ndef double(n):\n    return n * n\n```", TASK)
    assert not wrong.correct and "AssertionError" in wrong.reason
    assert "SyntaxError" in CODE.grade("```python\ndef double(n) return n\n```", TASK).reason
    given = CODE.grade("```python\ndef double(n):\n    return math.floor(2 * n)\n```", TASK)
    assert given.correct


CASES = {
    "a future in front of the given head": (
        "```python\nfrom __future__ import annotations\ndef double(n: Missing) -> int:\n    return n + n\n```", True),
    "two blocks": (
        "```python\ndef add(a, b):\n    return a + b\n```\n```python\ndef double(n):\n    return add(n, n)\n```", True),
    "a body alone": ("    return n + n\n```", True),
    "another function": ("```python\ndef triple(n):\n    return 3 * n\n```", False),
    "an object": ("```python\ndef double(n):\n    return object()\n```", False),
    "a fraction": ("```python\nfrom fractions import Fraction\ndef double(n):\n    return Fraction(2 * n)\n```", True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdicts(name):
    head = 'def double(n: int) -> int:\n    """Twice."""\n'
    task = replace(TASK, metadata={**TASK.metadata, "before": head})
    reply, expected = CASES[name]
    assert CODE.grade(reply, task).correct is expected


SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "graders.jsonl"


@pytest.mark.skipif(not SHARED.exists(), reason="the cases are not on this machine")
def test_the_cases_of_the_report():
    cases = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    code = [case for case in cases if case["kind"] == "code"]
    assert len(code) == 17
    for case in code:
        metadata = {key: case[key] for key in ("tests", "functions", "before")}
        verdict = CODE.grade(case["answer"], Task(case["id"], "", "", metadata=metadata, grader="code"))
        assert verdict.correct is case["expected"], (case["id"], verdict)


def test_time_is_limited_and_the_record_says_which():
    endless = CODE.grade("```python\ndef double(n):\n    while True: pass\n```", TASK, Limits(seconds=1.0))
    assert not endless.correct and endless.reason == "1 seconds of processor time are over"
    asleep = "```python\nimport time\ndef double(n):\n    time.sleep(99)\n```"
    verdict = CODE.grade(asleep, TASK, Limits(wall_seconds=0.5))
    assert not verdict.correct and verdict.reason == "0.5 seconds of wall time are over"
