import pytest

from interlat.tasks.base import Task
from interlat.tasks.graders.code import grade_code
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
    verdict = grade_code(reply, TASK)
    assert (verdict.correct, verdict.how, verdict.reason) == (False, "unparsed", "there is no program in the reply")


def test_programs_are_judged_by_the_tests():
    right = grade_code(f"```python\n{RIGHT}```", TASK)
    assert right.correct and right.how == "executed" and "seccomp" in right.isolation
    wrong = grade_code("```python\ndef double(n):\n    return n * n\n```", TASK)
    assert not wrong.correct and "AssertionError" in wrong.reason
    assert "SyntaxError" in grade_code("```python\ndef double(n) return n\n```", TASK).reason
    given = grade_code("```python\ndef double(n):\n    return math.floor(2 * n)\n```", TASK)
    assert given.correct


def test_time_is_limited_and_the_record_says_which():
    endless = grade_code("```python\ndef double(n):\n    while True: pass\n```", TASK, Limits(seconds=1.0))
    assert not endless.correct and endless.reason == "1 seconds of processor time are over"
    asleep = "```python\nimport time\ndef double(n):\n    time.sleep(99)\n```"
    verdict = grade_code(asleep, TASK, Limits(wall_seconds=0.5))
    assert not verdict.correct and verdict.reason == "0.5 seconds of wall time are over"
