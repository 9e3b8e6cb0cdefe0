import dataclasses
from typing import Literal

import pytest

from interlat.errors import InputError
from interlat.typed import check_choices, check_range, typed


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


@dataclasses.dataclass(frozen=True)
class Limits:
    share: float | None = 0.5
    lengths: tuple[int, ...] = (1, 2)
    kind: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    "interval, value, expected",
    [
        ("[0, 1]", 0.0, ""), ("(0, 1]", 0.0, "above 0, at most 1"), ("[0, 1]", 1.0, ""),
        ("[0, 1)", 1.0, "0 or more, below 1"), ("(0, 1)", 0.5, ""), ("[0, 1]", -0.1, "0 or more, at most 1"),
        ("[0, 1]", 1.1, "0 or more, at most 1"), ("[1, inf)", 1e9, ""), ("(0, inf)", 0, "above 0"),
        ("[0, 1]", float("nan"), "0 or more, at most 1"), ("[1, inf)", None, ""),
    ],
)  # fmt: skip
def test_a_number_outside_its_interval_is_refused(interval, value, expected):
    if not expected:
        check_range(Limits(value), interval, "share")
        return
    with pytest.raises(InputError, match=f"share is {value}, expected {expected};"):
        check_range(Limits(value), interval, "share")


def test_every_number_of_a_tuple_counts():
    check_range(Limits(), "[1, inf)", "lengths")
    with pytest.raises(InputError, match="bridge lengths is"):
        check_range(Limits(lengths=(2, 0)), "[1, inf)", "lengths", owner="bridge")


def test_a_value_that_is_no_choice_is_refused():
    check_choices(Limits(), "kind")
    with pytest.raises(InputError, match="kind is 'c', expected one of a, b"):
        check_choices(Limits(kind="c"), "kind")
