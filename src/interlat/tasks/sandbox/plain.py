"""Values and exceptions that pass between generated code and its judge, rebuilt by the judge from nothing but data.

What an object claims about itself (`__eq__`, `__class__`, `__reduce__`) stays on its side. Subclasses of scalars and
containers arrive as the nearest type of the standard library. What is no data at all passes as a reference, which
``refer`` makes on one side and ``resolve`` takes on the other (`interlat.tasks.sandbox.remote`).
"""

import base64
import builtins
import collections
import collections.abc
import contextlib
import importlib
import itertools
import json
import numbers
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

LARGEST_MESSAGE = 64 * 2**20
"""Bytes of one value on the wire."""
LONGEST_REASON = 500
"""Characters of the words of an exception."""
DEEPEST = 1000
"""Levels of containers in containers."""
REFERENCES = ("mine", "yours", "builtin", "exception")
"""Kinds that ``refer`` makes and ``resolve`` takes; the first two are said from the side of the sender."""

Refer = Callable[[Any], list[Any]]
Resolve = Callable[[str, Any], Any]

_SCALARS = {int, float, str, bool, type(None)}
_WORD = 2**63
_MOST_INSERTED = 20_000
_VIEWS = (collections.abc.KeysView, collections.abc.ValuesView, collections.abc.ItemsView)


class NotPlain(Exception):
    """The value is no plain data, or too large or too deep to pass."""


def _no_reference(value: Any) -> list[Any]:
    raise NotPlain(f"a value of type {type(value).__name__}")


def _no_object(kind: str, content: Any) -> Any:
    raise NotPlain(f"something of the kind {kind!r}")


@contextlib.contextmanager
def _room_for_depth() -> Iterator[None]:
    """Nested values need more of the stack than nested calls usually get."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(max(usual, 10 * DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


def to_plain(value: Any, refer: Refer = _no_reference) -> Any:
    """The value in JSON: scalars as they are, all else as ``[kind, content]``.

    Raises:
        NotPlain: it cannot pass.
    """
    with _room_for_depth():
        return _to(value, refer, 0)


def from_plain(data: Any, resolve: Resolve = _no_object) -> Any:
    """The value of what `to_plain` made.

    Raises:
        NotPlain: it was made by something else.
    """
    with _room_for_depth():
        return _from(data, resolve, 0)


def _to(value: Any, refer: Refer, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        whole = int.__index__(value)
        return whole if -_WORD <= whole < _WORD else ["int", hex(whole)]
    if isinstance(value, float):
        return float.__float__(value)
    if depth > DEEPEST:
        raise NotPlain(f"more than {DEEPEST} containers in each other")

    def several(values: Iterable[Any]) -> list[Any]:
        values = list(values)
        if _are_scalars(values):
            return values
        kinds = set(map(type, values))
        # Rows of a table; nothing else takes so long.
        if len(kinds) == 1 and kinds <= {list, tuple} and _are_scalars(list(itertools.chain.from_iterable(values))):
            return [[type(row).__name__, list(row)] for row in values]
        return [_to(one, refer, depth + 1) for one in values]

    found = _container(value, several) or _number_or_date(value, several)
    return refer(value) if found is None else found


def _are_scalars(values: list[Any]) -> bool:
    """Whether all values are JSON as they are, which a large integer is not."""
    kinds = set(map(type, values))
    small = int not in kinds or (kinds == {int} and min(values) >= -_WORD and max(values) < _WORD)
    return small and kinds <= _SCALARS


def _container(value: Any, several: Callable[[Iterable[Any]], list[Any]]) -> list[Any] | None:
    fields = getattr(type(value), "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple) and len(fields) == tuple.__len__(value):
        return ["namedtuple", [type(value).__name__, list(map(str, fields)), several(tuple.__iter__(value))]]
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    for kind in kinds:
        if isinstance(value, kind):
            return [kind.__name__, several(kind.__iter__(value))]
    if isinstance(value, dict):
        pairs = [several(dict.keys(value)), several(dict.values(value))]
        if isinstance(value, collections.defaultdict):
            return ["defaultdict", [*pairs, *several([value.default_factory])]]
        known: tuple[Any, ...] = (collections.Counter, collections.OrderedDict, dict)
        return [next(kind.__name__ for kind in known if isinstance(value, kind)), pairs]
    if isinstance(value, collections.deque):
        return ["deque", [several(collections.deque.__iter__(value)), value.maxlen]]
    if isinstance(value, _VIEWS):
        view = next(kind.__name__ for kind in _VIEWS if isinstance(value, kind))
        return [view, several(value)]
    if isinstance(value, range):
        return ["range", several([value.start, value.stop, value.step])]
    if isinstance(value, bytes | bytearray):
        return ["bytes" if isinstance(value, bytes) else "bytearray", base64.b64encode(bytes(value)).decode()]
    if isinstance(value, memoryview) and value.ndim == 1:
        return ["memoryview", [value.format, base64.b64encode(value.tobytes()).decode()]]
    if isinstance(value, _loaded("array", "array")):
        return ["array", [value.typecode, base64.b64encode(value.tobytes()).decode()]]
    if isinstance(value, _loaded("numpy", "ndarray")):
        return ["numpy", [str(value.dtype), list(value.shape), several(value.ravel().tolist())]]
    return None


def _loaded(module: str, name: str) -> Any:
    """A type, or none at all where nobody can have made a value of it."""
    return getattr(sys.modules.get(module), name, ())


def _number_or_date(value: Any, several: Callable[[Iterable[Any]], list[Any]]) -> Any:
    if isinstance(value, _loaded("decimal", "Decimal")):
        return ["Decimal", str(value)]
    if isinstance(value, _loaded("numpy", "generic")):
        item = value.item()
        return None if isinstance(item, type(value)) else several([item])[0]
    # Such as those of sympy, which are equal to Python's own.
    if isinstance(value, numbers.Integral):
        return several([int(value)])[0]
    if isinstance(value, numbers.Rational):
        return ["Fraction", several([int(value.numerator), int(value.denominator)])]
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, numbers.Complex):
        both = complex(value)
        return ["complex", [both.real, both.imag]]
    for kind in ("datetime", "date", "time"):
        if isinstance(value, _loaded("datetime", kind)):
            return [kind, value.isoformat()]
    if isinstance(value, _loaded("datetime", "timedelta")):
        return ["timedelta", [value.days, value.seconds, value.microseconds]]
    return None


def _from(data: Any, resolve: Resolve, depth: int) -> Any:
    if type(data) in _SCALARS:
        return data
    if depth > DEEPEST or not isinstance(data, list) or len(data) != 2 or not isinstance(data[0], str):
        raise NotPlain("something that is no plain data")
    kind, content = data

    def several(values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise TypeError
        kinds = set(map(type, values))
        if kinds <= _SCALARS:
            return values
        if kinds == {list} and all(len(one) == 2 and one[0] == "list" and type(one[1]) is list for one in values):
            rows = [one[1] for one in values]
            if set(map(type, itertools.chain.from_iterable(rows))) <= _SCALARS:
                return rows
        return [_from(one, resolve, depth + 1) for one in values]

    if kind in REFERENCES:
        return resolve(kind, content)
    make = _MAKERS.get(kind)
    if make is None:
        raise NotPlain(f"something of the kind {kind!r}")
    try:
        return make(content, several)
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError, ImportError) as error:
        raise NotPlain(f"a broken {kind}") from error


def in_order(kind: Any, items: list[Any]) -> Any:
    """A set that is iterated as the one that its items came from, as far as that can be found out.

    Which place an item has in the table of a set depends on how that grew: item by item, or as the copy of another;
    and of items that want the same place on which came first. So some orders are tried.
    """
    other = frozenset if kind is set else set
    for order in itertools.islice(_orders(items), 1 + _MOST_INSERTED // (1 + len(items))):
        for found in (kind(order), kind(other(order))):
            if all(one is item for one, item in zip(found, items, strict=False)):
                return found
    return kind(items)


def _orders(items: list[Any]) -> Iterator[list[Any]]:
    """The items in their order, then with up to four of them moved to the end: enough for sets of seven."""
    for count in range(5):
        for moved in itertools.permutations(range(len(items)), count):
            yield [item for place, item in enumerate(items) if place not in moved] + [items[place] for place in moved]


def _namedtuple(name: Any, fields: Any, items: list[Any]) -> Any:
    if not isinstance(name, str) or not isinstance(fields, list) or not all(type(field) is str for field in fields):
        raise TypeError
    # Names that are no identifiers are refused there.
    return collections.namedtuple(name, fields)(*items)


def _array(dtype: Any, shape: Any, items: list[Any]) -> Any:
    numpy = importlib.import_module("numpy")
    return numpy.array(items, dtype=str(dtype)).reshape(shape)


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _bytes(content: Any) -> bytes:
    return base64.b64decode(content, validate=True)


_MAKERS: dict[str, Callable[[Any, Callable[[Any], list[Any]]], Any]] = {
    "int": lambda content, several: int(content, 16),
    "complex": lambda content, several: complex(float(content[0]), float(content[1])),
    "list": lambda content, several: list(several(content)),
    "tuple": lambda content, several: tuple(several(content)),
    "set": lambda content, several: in_order(set, several(content)),
    "frozenset": lambda content, several: in_order(frozenset, several(content)),
    "namedtuple": lambda content, several: _namedtuple(content[0], content[1], several(content[2])),
    "dict": lambda content, several: dict(zip(*map(several, content), strict=True)),
    "Counter": lambda content, several: collections.Counter(dict(zip(*map(several, content), strict=True))),
    "OrderedDict": lambda content, several: collections.OrderedDict(zip(*map(several, content), strict=True)),
    "defaultdict": lambda content, several: collections.defaultdict(
        several(content[2:])[0], zip(*map(several, content[:2]), strict=True)
    ),
    "deque": lambda content, several: collections.deque(several(content[0]), content[1]),
    "KeysView": lambda content, several: dict.fromkeys(several(content)).keys(),
    "ValuesView": lambda content, several: dict(enumerate(several(content))).values(),
    "ItemsView": lambda content, several: dict(several(content)).items(),
    "range": lambda content, several: range(*several(content)),
    "bytes": lambda content, several: _bytes(content),
    "bytearray": lambda content, several: bytearray(_bytes(content)),
    "memoryview": lambda content, several: memoryview(_bytes(content[1])).cast(content[0]),
    "array": lambda content, several: _of("array", "array")(content[0], _bytes(content[1])),
    "numpy": lambda content, several: _array(content[0], content[1], several(content[2])),
    "Decimal": lambda content, several: _of("decimal", "Decimal")(content),
    "Fraction": lambda content, several: _of("fractions", "Fraction")(*several(content)),
    "datetime": lambda content, several: _of("datetime", "datetime").fromisoformat(content),
    "date": lambda content, several: _of("datetime", "date").fromisoformat(content),
    "time": lambda content, several: _of("datetime", "time").fromisoformat(content),
    "timedelta": lambda content, several: _of("datetime", "timedelta")(*content),
}


def described(error: BaseException, refer: Refer) -> dict[str, Any]:
    """An exception in JSON."""
    try:
        reason = str(error)[:LONGEST_REASON]
    except BaseException:
        reason = ""
    try:
        # The name of a file is no argument, but belongs to the words.
        if isinstance(error, OSError) and error.filename is not None:
            values = to_plain([error.errno, error.strerror, error.filename], refer)
        else:
            values = to_plain(list(error.args), refer)
    except BaseException:
        values = ["list", []]
    return {"error": nearest_builtin(type(error)).__name__, "class": refer(type(error)), "values": values,
            "reason": reason}  # fmt: skip


def nearest_builtin(kind: type[BaseException]) -> type[BaseException]:
    """The first of the classes of an exception that is Python's own."""
    return next((one for one in kind.__mro__ if vars(builtins).get(one.__name__) is one), BaseException)


def rebuilt(message: dict[str, Any], resolve: Resolve) -> BaseException:
    """The exception that `described` described, with the same words."""
    reason = str(message.get("reason", ""))[:LONGEST_REASON]
    known = vars(builtins).get(str(message.get("error")))
    kinds: list[Any] = [known] if isinstance(known, type) and issubclass(known, BaseException) else [BaseException]
    values: Any = []
    with contextlib.suppress(NotPlain):
        kinds.insert(0, from_plain(message.get("class"), resolve))
    with contextlib.suppress(NotPlain):
        values = from_plain(message.get("values"), resolve)
    for kind in kinds:
        for arguments in (values, [reason]):
            found = _built(kind, arguments)
            if found is not None and str(found) == reason:
                return found
    return next(found for found in (_built(kind, [reason]) for kind in kinds[-1].__mro__) if found is not None)


def _built(kind: Any, arguments: Any) -> BaseException | None:
    if not isinstance(kind, type) or not issubclass(kind, BaseException) or not isinstance(arguments, list):
        return None
    try:
        return kind(*arguments)
    except (TypeError, ValueError):
        return None


def send(stream: BinaryIO, message: Any) -> None:
    """Write one JSON value behind its length.

    Raises:
        NotPlain: it is too large.
    """
    with _room_for_depth():
        content = json.dumps(message).encode("ascii")
    if len(content) > LARGEST_MESSAGE:
        raise NotPlain(f"a value of {len(content)} bytes, which is more than {LARGEST_MESSAGE}")
    stream.write(len(content).to_bytes(8, "little") + content)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read what `send` wrote.

    Raises:
        EOFError: the other side is gone.
        NotPlain: it sends something else, or too much.
    """
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    size = int.from_bytes(head, "little")
    if size > LARGEST_MESSAGE:
        raise NotPlain(f"a value of {size} bytes, which is more than {LARGEST_MESSAGE}")
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    try:
        with _room_for_depth():
            return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotPlain("something that is no JSON") from error
