import json
import subprocess
import sys

import pytest

from interlat.tasks.graders.symbolic_worker import compare


@pytest.mark.parametrize(
    ("gold", "found", "same"),
    [
        ("(x+1)^2", "x^2+2x+1", True),
        (r"(-\infty, 2]", r"x \le 2", True),
        ("x", "y", False),
        (r"\pi", "3.14159265", False),
        ("7", "7y-2/{", None),
    ],
)
def test_expressions_are_compared(gold, found, same):
    assert compare(gold, found) is same


def test_it_answers_line_by_line_and_survives_what_cannot_be_computed():
    long = r"\int_0^1 \frac{\sin(x^3+\ln(x+1))}{\sqrt{x^5+x+1}} dx"
    asked = [["1", "1"], ["1", "(" * 400 + "1" + ")" * 400], ["1", long], ["2", "1+1"]]
    done = subprocess.run(
        [sys.executable, "-m", "interlat.tasks.graders.symbolic_worker", str(2**29), "0.5"],
        input="".join(json.dumps(one) + "\n" for one in asked),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == ["ready", True, None, None, True]
