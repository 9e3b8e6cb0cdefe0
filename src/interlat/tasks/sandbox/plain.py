"""Values that pass between generated code and its judge: plain data, rebuilt by the judge from nothing but data.

What an object claims about itself (`__eq__`, `__class__`, `__reduce__`) stays on its side. Subclasses of containers
arrive as their base, as they compare to it anyway.
"""

import base64
import builtins
import collections.abc
import json
import sys
from typing import Any, BinaryIO

LARGEST_MESSAGE = 64 * 2**20
"""Bytes of one value on the wire."""
LONGEST_ITERATOR = 100_000
"""Items that are taken of an iterator."""
DEEPEST = 200
"""Levels of containers in containers."""


class NotPlain(Exception):
    """The value is no plain data, or too large or too deep to pass."""


def to_plain(value: Any, depth: int = 0) -> Any:
    """The value in JSON: scalars as they are, all else as ``[kind, content]``.

    Raises:
        NotPlain: it cannot pass.
    """
    if depth > DEEPEST:
        raise NotPlain(f"more than {DEEPEST} containers in each other")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return ["int", hex(value)]
    if isinstance(value, float):
        return ["float", float.hex(value)]
    if isinstance(value, complex):
        return ["complex", [float.hex(value.real), float.hex(value.imag)]]
    if isinstance(value, bytes | bytearray):
        return [type(value).__name__, base64.b64encode(bytes(value)).decode()]
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    for kind in kinds:
        if isinstance(value, kind):
            return [kind.__name__, [to_plain(item, depth + 1) for item in kind.__iter__(value)]]
    if isinstance(value, dict):
        pairs = dict.items(value)
        return ["dict", [[to_plain(key, depth + 1), to_plain(item, depth + 1)] for key, item in pairs]]
    if isinstance(value, range):
        return ["range", [hex(value.start), hex(value.stop), hex(value.step)]]
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return to_plain(value.item(), depth)
    if numpy is not None and isinstance(value, numpy.ndarray):
        return ["array", [str(value.dtype), to_plain(value.tolist(), depth + 1)]]
    if isinstance(value, collections.abc.Iterator):
        items: list[Any] = []
        for item in value:
            if len(items) == LONGEST_ITERATOR:
                raise NotPlain(f"an iterator of more than {LONGEST_ITERATOR} items")
            items.append(to_plain(item, depth + 1))
        return ["iterator", items]
    raise NotPlain(f"a value of type {type(value).__name__}")


def from_plain(data: Any, depth: int = 0) -> Any:
    """The value of what `to_plain` made.

    Raises:
        NotPlain: it was made by something else.
    """
    if data is None or isinstance(data, bool | str):
        return data
    if depth > DEEPEST or not isinstance(data, list) or len(data) != 2 or not isinstance(data[0], str):
        raise NotPlain("something that is no plain data")
    kind, content = data
    try:
        if kind == "int":
            return int(content, 16)
        if kind == "float":
            return float.fromhex(content)
        if kind == "complex":
            return complex(float.fromhex(content[0]), float.fromhex(content[1]))
        if kind in ("bytes", "bytearray"):
            return getattr(builtins, kind)(base64.b64decode(content, validate=True))
        if kind == "range":
            return range(*(int(number, 16) for number in content))
        if kind == "dict":
            return {from_plain(key, depth + 1): from_plain(item, depth + 1) for key, item in content}
        if kind == "array":
            import numpy

            return numpy.array(from_plain(content[1], depth + 1), dtype=content[0])
        if kind in ("list", "tuple", "set", "frozenset", "iterator"):
            items = [from_plain(item, depth + 1) for item in content]
            return iter(items) if kind == "iterator" else getattr(builtins, kind)(items)
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise NotPlain(f"a broken {kind}") from error
    raise NotPlain(f"something of the kind {kind!r}")


def send(stream: BinaryIO, message: Any) -> None:
    """Write one JSON value behind its length.

    Raises:
        NotPlain: it is too large.
    """
    content = json.dumps(message).encode("ascii")
    if len(content) > LARGEST_MESSAGE:
        raise NotPlain(f"a value of {len(content)} bytes")
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
        raise NotPlain(f"a value of {size} bytes")
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotPlain("something that is no JSON") from error
