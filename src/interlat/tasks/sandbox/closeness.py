"""numpy's comparisons, which take nothing at all for close to every number, since an empty array has no other item."""

import functools
from collections.abc import Callable
from typing import Any

_TESTS = ("assert_allclose", "assert_almost_equal", "assert_array_almost_equal", "assert_array_equal")


def comparable(one: Any, other: Any) -> bool:
    """Whether two arrays can be close: not if only one of them is empty."""
    return bool((one.size == 0) == (other.size == 0))


def compare_strictly() -> None:
    """Let numpy's comparisons refuse, in this process, what is not `comparable`, and sequences of two shapes."""
    import numpy
    import numpy.testing

    numpy.allclose = _strict(numpy.allclose, lambda: False)
    for name in _TESTS:
        setattr(numpy.testing, name, _strict(getattr(numpy.testing, name), _not_close))


def _not_close() -> None:
    raise AssertionError("one of the values is empty, or they have different shapes")


def _strict(compare: Callable[..., Any], otherwise: Callable[[], Any]) -> Callable[..., Any]:
    import numpy

    @functools.wraps(compare)
    def strict(one: Any, other: Any, *rest: Any, **named: Any) -> Any:
        # Read once: an object of the code may have another length the second time.
        arrays = [numpy.asanyarray(value) for value in (one, other)]
        sequences = isinstance(one, list | tuple) and isinstance(other, list | tuple)
        if not comparable(*arrays) or (sequences and arrays[0].shape != arrays[1].shape):
            return otherwise()
        return compare(
            *(array if array.ndim else value for array, value in zip(arrays, (one, other), strict=True)), *rest, **named
        )

    return strict
