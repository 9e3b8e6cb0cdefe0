"""Our own words for the forms of assertion that the hub's tests have."""

import numpy
import pytest

from interlat.tasks.evalplus import complete

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
