"""numpy's comparisons, which take nothing at all for close to every number, since an empty array has no other item."""

import functools
from collections.abc import Callable
from typing import Any

_TESTS = ("assert_allclose", "assert_almost_equal", "assert_array_almost_equal", "assert_array_equal")


def comparable(one: Any, other: Any) -> bool:
    """Whether two values can be close: not if only one of them is empty, or if they are sequences of two shapes."""
    import numpy

    shapes = [numpy.shape(value) for value in (one, other)]
    sequences = all(isinstance(value, list | tuple) for value in (one, other))
    return shapes[0] == shapes[1] if sequences else (0 in shapes[0]) == (0 in shapes[1])


def compare_strictly() -> None:
    """Let numpy's comparisons refuse, in this process, what `comparable` says cannot be close."""
    import numpy
    import numpy.testing

    numpy.allclose = _strict(numpy.allclose, lambda: False)
    for name in _TESTS:
        setattr(numpy.testing, name, _strict(getattr(numpy.testing, name), _not_close))


def _not_close() -> None:
    raise AssertionError("one of the values is empty, or they have different shapes")


def _strict(compare: Callable[..., Any], otherwise: Callable[[], Any]) -> Callable[..., Any]:
    @functools.wraps(compare)
    def strict(one: Any, other: Any, *rest: Any, **named: Any) -> Any:
        return compare(one, other, *rest, **named) if comparable(one, other) else otherwise()

    return strict
