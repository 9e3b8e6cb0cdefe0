import contextlib
import os
import subprocess
import sys
import threading

import numpy
import pytest

from interlat.tasks.sandbox.guest import serve
from interlat.tasks.sandbox.judge import comparable, judged
from interlat.tasks.sandbox.plain import receive, send
from interlat.tasks.sandbox.remote import Code


def verdict_about(guest, tests="assert f(2) == 4", before="", functions=("f",), program="def f(n): return n * n"):
    """The verdict of a judge who talks to ``guest(source, sink)`` in a thread."""
    reads, writes = os.pipe()
    back_reads, back_writes = os.pipe()
    guest_source, sink = os.fdopen(reads, "rb"), os.fdopen(writes, "wb")
    source, guest_sink = os.fdopen(back_reads, "rb"), os.fdopen(back_writes, "wb")

    def run():
        with guest_source, guest_sink:
            guest(guest_source, guest_sink)

    thread = threading.Thread(target=run)
    thread.start()
    job = {"program": program, "tests": tests, "before": before, "functions": list(functions)}
    with source:
        try:
            return judged(job, Code(source, sink))
        finally:
            with contextlib.suppress(BrokenPipeError):
                sink.close()
            thread.join()


def honest(source, sink):
    serve(source, sink, ["here"])


def test_right_code_passes_and_the_record_says_how_it_was_confined():
    assert verdict_about(honest) == {"passed": True, "reason": "", "isolation": ["here"]}


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ("assert f(2) == 5, 'five'", "AssertionError: five"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("f(1) +", "SyntaxError"),
        ("f('x')", "TypeError: can't multiply sequence by non-int"),
    ],
)
def test_tests_that_do_not_pass(tests, reason):
    found = verdict_about(honest, tests)
    assert not found["passed"] and reason in found["reason"]


def test_helpers_come_before_and_functions_of_the_code_replace_what_they_stand_for():
    before = "def helper(n): return n + 1\ndef f(n): 'to be written'"
    assert verdict_about(honest, "assert helper(f(2)) == 5", before)["passed"]


def sends(*messages):
    def guest(source, sink):
        receive(source)
        for message in messages:
            send(sink, message)
            if message is not messages[-1]:
                receive(source)

    return guest


F = {"isolation": [], "names": {"f": ["mine", [0, ["call"], "f"]]}}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((F, {"result": 5}), "AssertionError"),
        ((F, {"result": ["sly", 4]}), "the code gave something of the kind 'sly'"),
        ((F, [4]), "the code gave no answer"),
        ((F, {"error": "SystemExit"}), "the code raised SystemExit"),
        ((F, {"error": "exit", "reason": "0"}), "the code raised exit"),
        ((F, {"error": "UnicodeDecodeError"}), "UnicodeError: "),
        ((F, {"error": "NotPlain", "reason": "much"}), "the code gave much"),
        ((F, {"passed": True}), "AssertionError"),
        (({"isolation": []},), "NameError: the code does not define it"),
        ((["passed"],), "ended before it was tested"),
        (({"isolation": [], "names": ["f"]},), "ended before it was tested"),
        (({"isolation": [], "names": {"f": ["eval", 0]}},), "ended before it was tested"),
        (({"error": "SyntaxError", "reason": "at the end"},), "SyntaxError: at the end"),
    ],
)
def test_whatever_the_other_side_sends_is_no_pass(messages, reason):
    found = verdict_about(sends(*messages))
    assert found["passed"] is False and reason in found["reason"]


def test_whoever_leaves_does_not_pass():
    found = verdict_about(lambda source, sink: None)
    assert not found["passed"] and "ended before it was tested" in found["reason"]

    def leaves(source, sink):
        receive(source)
        send(sink, F)

    assert "the process of the code ended" in verdict_about(leaves)["reason"]


@pytest.mark.parametrize(
    ("program", "tests", "passes"),
    [
        ("class Pair:\n    def __init__(self, a): self.a = a\ndef f(p): return p.a", "assert f(Pair(2)) == 2", True),
        ("LIMIT = 7\ndef f(n): return LIMIT", "assert f(1) == LIMIT", True),
        ("import sys\ndef f(n): return sys.maxsize", "assert f(1) == sys.maxsize", True),
        ("from math import pi as half\ndef f(n): return half", "import math\nassert f(1) == half == math.pi", True),
        # What the tests compare with is not the code's to say.
        (
            "class sys: maxsize = 5\nimport sys as _\ndef f(n): return 5",
            "import sys\nassert f(1) == sys.maxsize",
            False,
        ),
        ("abs = lambda n: 0\ndef f(n): return 9", "assert abs(f(1) - 1) < 1", False),
        ("def helper(n): return 0\ndef f(n): return 0", "assert f(1) == helper(1)", False),
        ("want = 0\ndef f(n): return 0", "want = 1\nassert f(1) == want", False),
        ("n = 0\ndef f(n): return 0", "assert f(1) == missing", False),
    ],
)
def test_names_of_the_code_that_tests_use(program, tests, passes):
    assert verdict_about(honest, tests, "def helper(n): return n", program=program)["passed"] is passes


CALLS = {
    "allclose": "numpy.allclose({one}, {other}) is True or 1 / 0",
    "assert_allclose": "numpy.testing.assert_allclose({one}, {other})",
    "assert_almost_equal": "numpy.testing.assert_almost_equal({one}, {other})",
    "assert_array_almost_equal": "numpy.testing.assert_array_almost_equal({one}, {other})",
    "assert_array_equal": "numpy.testing.assert_array_equal({one}, {other})",
}
# In one process, since the functions of numpy are changed there.
ALL = """
import numpy
import numpy.testing
from interlat.tasks.sandbox.judge import compare_strictly
compare_strictly()
class Odd:
    lengths = [1, 0, 0, 0, 0, 0]
    shape = ()
    def __len__(self): return self.lengths.pop(0) if self.lengths else 0
    def __getitem__(self, place): raise IndexError
for name, call in {calls!r}.items():
    for one, other in {pairs!r}:
        try:
            eval(call.format(one=one, other=other))
            print(name, one, other)
        except (AssertionError, ZeroDivisionError, TypeError, ValueError):
            pass
"""


def passing(pairs):
    done = subprocess.run([sys.executable, "-c", ALL.format(calls=CALLS, pairs=pairs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nothing_is_close_to_something():
    pairs = [("[]", "1.5"), ("1.5", "[]"), ("[]", "[1.5]"), ("numpy.zeros((0, 3))", "1.5"), ("()", "[1.5]"),
             ("[[]]", "2.5"), ("[1.5]", "[1.5, 1.5]"), ("[1.5, 1.5]", "(1.5,)"), ("Odd()", "1.5"), ("[Odd()]", "1.5"),
             ("1.5", "1.6"), ("[1.5]", "[1.6]")]  # fmt: skip
    assert passing(pairs) == []


def test_what_was_close_still_is():
    pairs = [("1.5", "1.5"), ("[1.5, 2]", "[1.5, 2.0]"), ("[1.5]", "(1.5,)"), ("[]", "[]"), ("[]", "()"),
             ("numpy.ones((2, 3))", "1.0")]  # fmt: skip
    assert set(passing(pairs)) >= {f"{name} {one} {other}" for name in CALLS for one, other in pairs}
    assert passing([("numpy.ones((2, 3))", "[1.0, 1.0, 1.0]")]) == ["allclose numpy.ones((2, 3)) [1.0, 1.0, 1.0]"]


@pytest.mark.parametrize(("one", "other", "expected"), [((), (0,), False), ((2, 0), (0,), True), ((), (3,), True)])
def test_only_both_may_be_empty(one, other, expected):
    assert comparable(numpy.zeros(one), numpy.zeros(other)) is expected
