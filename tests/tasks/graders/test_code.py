import pytest

from interlat.tasks.base import Task
from interlat.tasks.graders.code import grade_code, program_of
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


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n{RIGHT}```",
        f"```py\n{RIGHT}```",
        f"```Python3\n{RIGHT}```",
        f"```\n{RIGHT}```",
        f"Here it is:\n\n```python\n{RIGHT}```\nIt adds.",
        f'```python title="a.py"\n{RIGHT}```',
        f"```python\n{RIGHT}",
        f"  ```python\n{RIGHT}  ```",
        f"```python\nprint(1)\n```\nand\n```python\n{RIGHT}```",
        f"```python\n{RIGHT}```\nFor example:\n```python\nprint(double(2))\n```",
        f"```python\ndef double(n):\n    return n\n```\nNo, better:\n```python\n{RIGHT}```",
        f"```python\n{RIGHT}```\nIt prints\n```text\n4\n```",
        RIGHT,
    ],
)
def test_the_program_is_found(reply):
    program = program_of(reply, ["double"])
    assert program is not None and program.strip() == RIGHT.strip()


@pytest.mark.parametrize("reply", ["", "I cannot.", "```bash\nls\n```", "double", "1 + 1", "```\u00e4"])
def test_a_reply_without_a_program_is_unparsed(reply):
    assert program_of(reply, ["double"]) is None
    verdict = grade_code(reply, TASK)
    assert (verdict.correct, verdict.how, verdict.reason) == (False, "unparsed", "there is no program in the reply")


def test_the_last_block_is_run_where_none_defines_what_is_tested():
    assert program_of("```python\na = 1\n```\n```python\nb = 2\n```", ["double"]) == "b = 2\n"


def test_programs_are_judged_by_the_tests():
    right = grade_code(f"```python\n{RIGHT}```", TASK)
    assert right.correct and right.how == "executed" and "seccomp" in right.isolation
    wrong = grade_code("```python\ndef double(n):\n    return n * n\n```", TASK)
    assert not wrong.correct and "AssertionError" in wrong.reason
    assert "SyntaxError" in grade_code("```python\ndef double(n) return n\n```", TASK).reason
    given = grade_code("```python\ndef double(n):\n    return math.floor(2 * n)\n```", TASK)
    assert given.correct


def test_time_and_memory_are_limited():
    verdict = grade_code("```python\ndef double(n):\n    while True: pass\n```", TASK, Limits(seconds=1.0))
    assert not verdict.correct and verdict.reason
