import dataclasses
from typing import Literal

import pytest

from interlat.typed import typed


@dataclasses.dataclass(frozen=True)
class Inner:
    layer: int


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    rate: float = 0.5
    inners: tuple[Inner, ...] = ()


def test_lists_become_tuples_and_objects_dataclasses():
    fields = {"name": "x", "rate": 2, "inners": [{"layer": -1}]}
    assert typed(Outer, fields) == Outer("x", "a", 2.0, (Inner(-1),))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([], "expected an object, got list"),
        ({}, "name"),
        ({"name": "x", "colour": 1}, "unknown field 'colour'"),
        ({"name": 5}, "name is '5'"),
        ({"name": "\ud800"}, "name"),
        ({"name": "x", "kind": "c"}, "kind is 'c'"),
        ({"name": "x", "rate": "2"}, "rate is '2'"),
        ({"name": "x", "inners": [{"layer": 1, "depth": 2}]}, "unknown field 'depth'"),
        ({"name": "x", "inners": [{"layer": 1.5}]}, "inners.0.layer is '1.5'"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(fields, named):
    with pytest.raises(ValueError) as error:
        typed(Outer, fields)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_what_is_nested_too_deep_is_an_error():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deep"):
        typed(Outer, {"name": "x", "inners": value})
