import array
import collections
import contextlib
import datetime
import enum
import io
import json
import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.tasks.sandbox import plain
from interlat.tasks.sandbox.plain import (
    DEEPEST,
    LONGEST_REASON,
    NotPlain,
    described,
    from_plain,
    nearest_builtin,
    rebuilt,
    receive,
    send,
    to_plain,
)

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
    assert type(from_plain(to_plain(type("Own", (dict,), {})(a=1)))) is dict
    assert type(from_plain(to_plain(type("Own", (collections.Counter,), {})("a")))) is collections.Counter


Pair = collections.namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    "value",
    [
        collections.Counter("aab"), collections.OrderedDict([("b", 1), ("a", 2)]), collections.deque([1, [2]], 5),
        collections.deque(), {"a": 1, 2: [3]}.keys(), {1: (2, {3})}.items(), Fraction(-3, 7), Fraction(10**40, 3),
        Decimal("1.10"), Decimal("-Infinity"), datetime.date(2020, 2, 29), datetime.time(1, 2, 3, 4),
        datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        datetime.timedelta(-3, 4, 5), array.array("d", [1.5, -2.0]), array.array("i"), memoryview(b"abc"),
        memoryview(array.array("h", [1, -2])), {10**30: 10**40}, [10**30, 1], [[1, 2], [3, 10**30]], [(1, "a"), (2,
        None)],
        [[], [1.5]], [[1], (2,)], [[[1]], [[2]]], [["list", [1]]], ["list", [1]], [True, 1, 1.0, None, "x"], (),
        frozenset(),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
)  # fmt: skip
def test_what_the_standard_library_has_stays_what_it_is(value):
    found = from_plain(json.loads(json.dumps(to_plain(value))))
    assert (found == value and type(found) is type(value) and repr(found) == repr(value)) or isinstance(
        value, memoryview
    )
    assert list(found) == list(value) if isinstance(value, memoryview) else types_of(found) == types_of(value)


def test_named_tuples_defaults_and_values():
    pair = from_plain(to_plain(Pair(1, [2])))
    assert pair == (1, [2]) and (pair.x, pair.y) == (1, [2]) and repr(pair) == "Pair(x=1, y=[2])"
    counts = from_plain(to_plain(collections.defaultdict(None, {1: 2})))
    assert counts == {1: 2} and counts.default_factory is None
    assert sorted(from_plain(to_plain({"a": 2, "b": 1}.values()))) == [1, 2]


def test_numbers_that_are_equal_to_python_s_own():
    sympy = pytest.importorskip("sympy")
    found = from_plain(to_plain([sympy.Integer(3), sympy.Rational(1, 2), sympy.Float(0.5), sympy.Integer(10) ** 30]))
    assert found == [3, Fraction(1, 2), 0.5, 10**30]


@given(st.sets(st.integers(0, 40) | st.text(max_size=2), max_size=7), st.booleans())
def test_the_order_of_a_small_set_is_kept(items, copied):
    value = set(frozenset(items)) if copied else items
    assert list(from_plain(to_plain(value))) == list(value)


def test_the_order_of_sets_that_grew_in_another_way():
    for value in ({12, 13, 14, 15, 16}, {16, 15, 14, 13, 12}, frozenset({12, 13, 14, 15, 16}), {8, 0, 16}, {0, 8, 16}):
        assert list(from_plain(to_plain(value))) == list(value)


def test_numbers_of_numpy():
    assert from_plain(to_plain(numpy.int64(3))) == 3 and from_plain(to_plain(numpy.float32(0.5))) == 0.5
    table = numpy.array([[1.5, 2.0]], dtype="float32")
    found = from_plain(to_plain(table))
    assert found.dtype == table.dtype and (found == table).all()
    empty = from_plain(to_plain(numpy.zeros((0, 3))))
    assert empty.shape == (0, 3) and from_plain(to_plain(numpy.bool_(False))) is False


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [object(), len, {1: object()}, deep(DEEPEST + 3), type, ValueError("x"), iter([])])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(NotPlain):
        to_plain(value)


def test_what_has_no_end_is_refused_and_what_is_deep_is_not():
    one = []
    one.append(one)
    with pytest.raises(NotPlain, match="containers in each other"):
        to_plain(one)
    found = from_plain(json.loads(json.dumps(to_plain(deep(400)))))
    assert found == deep(400)
    wire = io.BytesIO()
    send(wire, to_plain(deep(DEEPEST)))
    wire.seek(0)
    found, levels = from_plain(receive(wire)), 0
    while found:
        (found,), levels = found, levels + 1
    assert levels == DEEPEST


def test_references_are_made_and_taken_by_those_who_know_them():
    kept = [object(), object()]

    def refer(value):
        return ["mine", kept.index(value)]

    found = from_plain(to_plain({"a": [kept[1]], "b": kept[0]}, refer), lambda kind, number: kept[number])
    assert found == {"a": [kept[1]], "b": kept[0]}


@pytest.mark.parametrize(
    "data",
    [
        {}, [], ["int"], ["int", 5], ["int", "x"], ["float", "x"], ["list", 5], ["list", [{}]], ["dict", [1]],
        ["dict", [[1], []]],
        ["list", [["list", 5], ["list", [1]]]], ["list", [["list"], ["list"]]], ["Counter", [[[]], [1]]], ["deque",
        [[], "x"]],
        ["set", [["list", []]]], ["dict", [[["list", []]], [1]]], ["object", None], ["eval", "1"], [[], []],
        ["bytes", "?"], ["range", [1, 2, 0]], ["complex", [1.0]], ["array", ["no type", ""]], ["numpy", ["no type",
        [0], []]],
        ["open", "/etc/passwd"], ["tuple", None], ["iterator", 3], ["mine", 0],
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


class Own(KeyError):
    def __init__(self, code):
        self.code = code


class Silent(ValueError):
    def __str__(self):
        raise TypeError


class Chosen(ValueError):
    def __str__(self):
        return "other words"


def refer(value):
    return ["builtin", value.__name__]


def resolve(kind, content):
    found = {"Own": Own, "KeyError": KeyError, "UnicodeDecodeError": UnicodeDecodeError, "OSError": OSError}.get(
        content
    )
    if found is None:
        raise NotPlain
    return found


def unicode_error():
    with pytest.raises(UnicodeDecodeError) as found:
        b"\xff".decode("ascii")
    return found.value


@pytest.mark.parametrize(
    ("error", "kind", "args"),
    [
        (KeyError("x"), KeyError, ("x",)),
        (KeyError(("a", 1)), KeyError, (("a", 1),)),
        (ValueError("no"), ValueError, ("no",)),
        (ValueError(), ValueError, ()),
        (Own(3), Own, (3,)),
        (Chosen("words"), ValueError, ("other words",)),
        (Silent("words"), ValueError, ("",)),
        (OSError(2, "none"), FileNotFoundError, (2, "none")),
        (OSError(13, "no", "a file"), PermissionError, (13, "no")),
        (ZeroDivisionError("division by zero"), ZeroDivisionError, ("division by zero",)),
        (SystemExit(3), SystemExit, (3,)),
        (ExceptionGroup("two", [ValueError("x")]), Exception, ("two (1 sub-exception)",)),
        (unicode_error(), UnicodeDecodeError, unicode_error().args),
    ],
    ids=repr,
)
def test_an_exception_arrives_with_its_arguments_and_words(error, kind, args):
    found = rebuilt(described(error, refer), resolve)
    assert type(found) is kind and found.args == args


def test_long_words_are_cut():
    message = described(ValueError("x" * 9000), refer)
    assert len(message["reason"]) == LONGEST_REASON


def test_the_nearest_builtin():
    assert nearest_builtin(Own) is KeyError
    # Of that name, but not that class.
    assert nearest_builtin(type("ValueError", (BaseException,), {})) is BaseException


@pytest.mark.parametrize(
    "message",
    [
        {}, {"error": "eval"}, {"error": 5, "reason": None}, {"error": "KeyError", "class": ["list", []]},
        {"error": "UnicodeDecodeError", "reason": "x"}, {"error": "ValueError", "values": ["int", "z"]},
        {"error": "OSError", "class": ["builtin", "OSError"], "values": ["list", [{}]]},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_comes_is_an_exception_of_its_words(message):
    found = rebuilt(message, resolve)
    assert isinstance(found, BaseException) and type(found) in (
        BaseException,
        KeyError,
        UnicodeError,
        ValueError,
        OSError,
    )
