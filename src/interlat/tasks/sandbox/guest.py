"""The process of the generated code: it confines itself, runs the code, and then does what the tests ask of it.

``python -s -P -B -m interlat.tasks.sandbox.guest READ WRITE SECONDS MEMORY``; the numbers are two open files, seconds
of processor time and bytes. The code is free to take everything here apart: all it reaches by that is the data it
sends.
"""

import builtins
import contextlib
import operator
import os
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, BinaryIO

from interlat.tasks.sandbox.confinement import confine, die_with_parent, limit_resources
from interlat.tasks.sandbox.plain import (
    LONGEST_REASON,
    NotPlain,
    described,
    from_plain,
    rebuilt,
    receive,
    send,
    to_plain,
)  # fmt: skip

# What a type can do if it has one of these methods.
_ABILITIES = {
    "__call__": "call", "__bool__": "bool", "__len__": "len", "__iter__": "iter", "__next__": "next",
    "__getitem__": "getitem", "__setitem__": "setitem", "__delitem__": "delitem",
}  # fmt: skip
_CHANGEABLE = ("list", "dict", "set", "defaultdict", "Counter", "OrderedDict")


class Given:
    """A function or an iterator that the tests have passed."""

    def __init__(self, peer: "Peer", number: int, name: str) -> None:
        self._peer, self._number, self.__name__ = peer, number, name


class GivenFunction(Given):
    """It runs on the other side, with plain data."""

    def __call__(self, *values: Any, **named: Any) -> Any:
        return self._peer.ask({"ask": "call", "of": self._number}, list(values), named)


class GivenIterator(Given):
    """Its items are made on the other side, as they are needed."""

    def __iter__(self) -> "GivenIterator":
        return self

    def __next__(self) -> Any:
        for item in self._peer.ask({"ask": "next", "of": self._number}, [], {}):
            return item
        raise StopIteration


class Peer:
    """Talks with the judge."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._own: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._late: dict[int, BaseException] = {}
        self._turn = threading.RLock()

    def serve(self) -> None:
        """Answer until the other side leaves."""
        with contextlib.suppress(EOFError):
            while True:
                self._reply(receive(self._source))

    def ask(self, request: dict[str, Any], values: list[Any], named: dict[str, Any]) -> Any:
        """What a function of the tests gives, or raises."""
        with self._turn:
            send(self._sink, {**request, "values": to_plain(values, self.refer), "named": to_plain(named, self.refer)})
            while "do" in (answer := receive(self._source)):
                self._reply(answer)
        if "error" in answer:
            raise rebuilt(answer, self._resolve)
        return from_plain(answer["result"], self._resolve)

    def _reply(self, request: dict[str, Any]) -> None:
        try:
            send(self._sink, self._answer(request))
        except NotPlain as error:
            send(self._sink, {"error": "NotPlain", "reason": str(error)[:LONGEST_REASON]})

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            values = from_plain(request["values"], self._resolve)
            named = from_plain(request["named"], self._resolve)
            operation: Callable[..., Any] = self._next if request["do"] == "next" else _OPERATIONS[request["do"]]
            result = operation(*values, **named)
        except NotPlain:
            raise
        except BaseException as error:
            return described(error, self.refer)
        try:
            answer: dict[str, Any] = {"result": to_plain(result, self.refer)}
            if request["do"] == "call" and result is None:
                answer["changed"] = self._changed(request["values"], values)
        # An object that lies about what it is; reading it is not what the tests have asked for.
        except Exception as error:
            raise NotPlain(str(error) if isinstance(error, NotPlain) else f"a value of type {type(result)}") from error
        return answer

    def _changed(self, before: Any, values: list[Any]) -> list[Any]:
        """Which arguments the code has changed in place, and what they are now."""
        # Scalars alone have no list of their own.
        lists = [(place, one) for place, one in enumerate(before[1]) if isinstance(one, list)]
        pairs = [(place, one, to_plain(values[place], self.refer)) for place, one in lists]
        return [[place, now] for place, one, now in pairs if one[0] in _CHANGEABLE and now != one]

    def _next(self, iterator: Iterator[Any], most: int) -> tuple[list[Any], bool]:
        """Some items, and whether they are the last; an exception behind some comes when it is asked for the next."""
        if id(iterator) in self._late:
            raise self._late.pop(id(iterator))
        items: list[Any] = []
        try:
            for _ in range(most):
                items.append(next(iterator))
        except StopIteration:
            return items, True
        except BaseException as error:
            if not items:
                raise
            self._late[id(iterator)] = error
        return items, False

    def refer(self, value: Any) -> list[Any]:
        """A reference to what is no data."""
        if isinstance(value, Given):
            return ["yours", value._number]
        kind = type(value)
        if isinstance(value, type):
            if vars(builtins).get(value.__name__, self) is value:
                return ["builtin", value.__name__]
            if issubclass(value, BaseException):
                base = next(one for one in value.__mro__[1:] if issubclass(one, BaseException))
                return ["exception", [self._number(value), self.refer(base), value.__name__]]
        able = [ability for method, ability in _ABILITIES.items() if any(method in vars(one) for one in kind.__mro__)]
        if isinstance(value, Awaitable):
            able.append("await")
        if isinstance(value, type):
            able.append("class")
        able += [name for name in ("str", "repr") if getattr(kind, f"__{name}__") is not getattr(object, f"__{name}__")]
        return ["mine", [self._number(value), able, str(getattr(value, "__name__", kind.__name__))]]

    def _number(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._own)
            # Kept, so that no other object ever gets its number.
            self._own.append(value)
        return self._numbers[id(value)]

    def _resolve(self, kind: str, content: Any) -> Any:
        if kind == "yours":
            return self._own[content]
        if kind == "builtin":
            return vars(builtins)[content]
        number, what, name = content
        return (GivenIterator if what == "iterator" else GivenFunction)(self, number, name)


def _wait(awaitable: Awaitable[Any]) -> Any:
    import asyncio

    async def wait() -> Any:
        return await awaitable

    loops_without_sockets()
    return asyncio.run(wait())


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": operator.call, "getattr": getattr, "setattr": setattr, "getitem": operator.getitem,
    "setitem": operator.setitem, "delitem": operator.delitem, "len": len, "bool": bool, "str": str, "repr": repr,
    "iter": iter, "isinstance": isinstance, "await": _wait,
}  # fmt: skip


class _PipeEnd:
    """One end of a pipe with what the loops of asyncio ask of a socket."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        os.set_blocking(handle, False)

    def fileno(self) -> int:
        return self._handle

    def recv(self, most: int) -> bytes:
        return os.read(self._handle, most)

    def send(self, content: bytes) -> int:
        return os.write(self._handle, content)

    def close(self) -> None:
        os.close(self._handle)


def loops_without_sockets() -> None:
    """Let asyncio wait with poll, and wake its loops by a pipe: epoll and pairs of sockets are refused."""
    import asyncio
    import selectors

    def make_pipe(loop: Any) -> None:
        loop._ssock, loop._csock = map(_PipeEnd, os.pipe())
        loop._internal_fds += 1
        loop._add_reader(loop._ssock.fileno(), loop._read_from_self)

    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc, assignment]
    asyncio.SelectorEventLoop._make_self_pipe = make_pipe  # type: ignore[attr-defined]


def serve(source: BinaryIO, sink: BinaryIO, isolation: list[str]) -> None:
    """Run the code that comes first, say how that went, and answer until the other side leaves."""
    job = receive(source)
    module = types.ModuleType("solution")
    # Looked up by classes and pickles that the code defines.
    sys.modules["solution"] = module
    peer = Peer(source, sink)
    try:
        if "asyncio" in job["program"]:
            loops_without_sockets()
        # One after the other, as a `from __future__ import` may only stand at the top.
        for name in ("before", "program"):
            exec(compile(job[name], "solution", "exec", dont_inherit=True), vars(module))
        names = {name: to_plain(vars(module)[name], peer.refer) for name in job["names"] if name in vars(module)}
        send(sink, {"isolation": isolation, "names": names})
    except BaseException as error:
        send(sink, {"isolation": isolation, **described(error, peer.refer)})
        return
    peer.serve()


def main(arguments: list[str]) -> None:
    """Confine this process and serve."""
    read, write, seconds, memory = arguments
    die_with_parent()
    source, sink = os.fdopen(int(read), "rb"), os.fdopen(int(write), "wb")
    limit_resources(float(seconds), int(memory))
    serve(source, sink, confine())


if __name__ == "__main__":
    main(sys.argv[1:])
    # Nothing that the code has registered for the end is run.
    os._exit(0)
