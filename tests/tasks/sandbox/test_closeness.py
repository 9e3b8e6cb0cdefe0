import subprocess
import sys

import numpy
import pytest

from interlat.tasks.sandbox.closeness import comparable

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
from interlat.tasks.sandbox.closeness import compare_strictly
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
