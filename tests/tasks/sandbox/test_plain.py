import collections
import contextlib
import enum
import io
import json
import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.tasks.sandbox import plain
from interlat.tasks.sandbox.plain import DEEPEST, NotPlain, from_plain, receive, send, to_plain

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
    | st.text() | st.binary() | st.builds(bytearray, st.binary()) | st.builds(range, st.integers(-9, 9))
)  # fmt: skip
hashable = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    scalars | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(hashable, inner),
    max_leaves=12,
)


def types_of(value):
    if isinstance(value, dict):
        return [dict, [(types_of(key), types_of(item)) for key, item in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value), [types_of(item) for item in value]]
    return type(value)


@given(values)
def test_plain_data_arrives_as_it_was(value):
    wire = io.BytesIO()
    send(wire, to_plain(value))
    wire.seek(0)
    found = from_plain(receive(wire))
    assert found == value and types_of(found) == types_of(value)


def test_special_numbers():
    assert math.isnan(from_plain(to_plain(math.nan)))
    assert from_plain(to_plain([math.inf, -math.inf, -0.0])) == [math.inf, -math.inf, 0.0]
    assert math.copysign(1, from_plain(to_plain(-0.0))) == -1
    assert from_plain(to_plain(7**50_000)) == 7**50_000
    assert from_plain(to_plain("\ud800 é")) == "\ud800 é"


class Colour(enum.IntEnum):
    RED = 3


class Sly(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class SlyList(list):
    def __iter__(self):
        return iter([0])


def test_what_an_object_claims_to_be_stays_behind():
    assert type(from_plain(to_plain(Colour.RED))) is int
    assert from_plain(to_plain(Sly(4))) != 5
    assert from_plain(to_plain(SlyList([1, 2]))) == [1, 2]
    counted = from_plain(to_plain(collections.Counter("aab")))
    assert counted == {"a": 2, "b": 1} and type(counted) is dict
    assert type(from_plain(to_plain(collections.OrderedDict(a=1)))) is dict
    pair = collections.namedtuple("Pair", "x y")(1, 2)
    assert from_plain(to_plain(pair)) == (1, 2) and type(from_plain(to_plain(pair))) is tuple


def test_numbers_of_numpy_and_iterators():
    assert from_plain(to_plain(numpy.int64(3))) == 3 and from_plain(to_plain(numpy.float32(0.5))) == 0.5
    array = numpy.array([[1.5, 2.0]], dtype="float32")
    found = from_plain(to_plain(array))
    assert found.dtype == array.dtype and (found == array).all()
    found = from_plain(to_plain(n * n for n in range(3)))
    assert not isinstance(found, list) and list(found) == [0, 1, 4]


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [object(), len, {1: object()}, deep(DEEPEST + 1), type, ValueError("x")])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(NotPlain):
        to_plain(value)


def test_what_has_no_end_is_refused():
    one = []
    one.append(one)
    with pytest.raises(NotPlain, match="containers in each other"):
        to_plain(one)
    with pytest.raises(NotPlain, match="an iterator of more than"):
        to_plain(iter(int, 1))
    assert from_plain(to_plain(deep(DEEPEST - 1))) == deep(DEEPEST - 1)


@pytest.mark.parametrize(
    "data",
    [
        5, 1.5, {}, [], ["int"], ["int", 5], ["int", "x"], ["float", "x"], ["list", 5], ["list", [7]], ["dict", [1]],
        ["set", [["list", []]]], ["dict", [[["list", []], None]]], ["object", None], ["eval", "1"], [[], []],
        ["bytes", "?"], ["range", ["0x1", "0x2", "0x0"]], ["complex", ["0x1p0"]], ["array", ["no type", ["list", []]]],
        ["open", "/etc/passwd"], ["tuple", None], ["iterator", 3],
    ],
    ids=str,
)  # fmt: skip
def test_what_was_not_made_here_is_refused(data):
    with pytest.raises(NotPlain):
        from_plain(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_anything_else_is_a_value_or_refused(data):
    with contextlib.suppress(NotPlain):
        from_plain(data)


def test_streams_that_end_or_lie(monkeypatch):
    for content in (b"", b"\x05\x00", (4).to_bytes(8, "little") + b"[]"):
        with pytest.raises(EOFError):
            receive(io.BytesIO(content))
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        with pytest.raises(NotPlain, match="no JSON"):
            receive(io.BytesIO(len(content).to_bytes(8, "little") + content))
    monkeypatch.setattr(plain, "LARGEST_MESSAGE", 10)
    with pytest.raises(NotPlain, match="a value of 11 bytes"):
        receive(io.BytesIO((11).to_bytes(8, "little") + b"x" * 11))
    with pytest.raises(NotPlain, match="a value of"):
        send(io.BytesIO(), json.dumps("x" * 20))
