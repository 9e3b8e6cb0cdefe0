"""Objects of the generated code as the tests see them: what is asked of one is done in the code's process.

A reference is equal to itself only, and has neither order nor arithmetic: what tests compare is always plain data that
the judge has rebuilt, never the word of an object of the code.
"""

import builtins
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from interlat.tasks.sandbox.plain import NotPlain, described, from_plain, rebuilt, receive, send, to_plain

DEEPEST_CLASS = 20
_ENDS_ITERATIONS = (StopIteration, StopAsyncIteration)
# Errors that come from the confinement, not from the code: what it refuses, and what there is no room for.
_REFUSALS = {1: "EPERM", 13: "EACCES", 24: "EMFILE", 27: "EFBIG", 38: "ENOSYS", 101: "ENETUNREACH"}


class GuestError(BaseException):
    """The code, or the sandbox, did what ends the job whatever the tests catch."""


class Code:
    """The process of the generated code, seen from the judge's."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, exits: bool = False) -> None:
        """Talk over two pipes; ``exits`` says whether the tests know what to do with a SystemExit."""
        self.fault = ""
        """Why the job failed, once it has; what the tests do afterwards changes nothing."""
        self._source, self._sink, self._exits = source, sink, exits
        self._own: list[Any] = []
        self._remotes: dict[int, Any] = {}

    def fail(self, reason: str) -> GuestError:
        """Note that the job has failed."""
        self.fault = self.fault or reason
        return GuestError(self.fault)

    def exchange(self, message: Any) -> dict[str, Any]:
        """Send a message and wait for its answer; meanwhile what the tests passed may be called.

        Raises:
            GuestError: the process has ended, or the job has failed before.
            NotPlain: what comes is no answer.
        """
        if self.fault:
            raise GuestError(self.fault)
        try:
            send(self._sink, message)
            while True:
                answer = receive(self._source)
                if not isinstance(answer, dict):
                    raise NotPlain("no answer")
                if "ask" not in answer:
                    return answer
                send(self._sink, self._served(answer))
        except (EOFError, BrokenPipeError) as error:
            raise self.fail("the process of the code ended") from error

    def ask(self, do: str, *values: Any, **named: Any) -> Any:
        """What an operation of `interlat.tasks.sandbox.guest` gives, or raises."""
        try:
            message = {"do": do, "values": to_plain(list(values), self._refer), "named": to_plain(named, self._refer)}
        except NotPlain as error:
            raise self.fail(f"the tests pass {error}") from error
        try:
            answer = self.exchange(message)
            raised = self._raised(answer) if "error" in answer else None
            result = self.value(answer.get("result"))
            if do == "call" and result is None:
                for place, content in answer.get("changed", ()):
                    _overwrite(values[place], self.value(content))
        except NotPlain as error:
            raise self.fail(f"the code gave {error}") from error
        # Whatever the code sends, no error of reading it may look to the tests like one that the code raised.
        except Exception as error:
            raise self.fail(f"the code gave something broken ({type(error).__name__})") from error
        if raised is not None:
            raise raised
        return result

    def value(self, data: Any) -> Any:
        """Plain data and references of the code.

        Raises:
            NotPlain: it is something else.
        """
        return from_plain(data, self._resolve)

    def _raised(self, answer: dict[str, Any]) -> BaseException:
        """What the tests get for an exception of the code."""
        if answer["error"] == "NotPlain":
            return self.fail(f"the code gave {answer.get('reason', '')}")
        error = rebuilt(answer, self._resolve)
        name = f"{answer['error']}: {error}"
        if isinstance(error, MemoryError) or error.args == ("can't start new thread",):
            return self.fail(f"{name} (a limit of the sandbox)")
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            return self.fail(f"{name} (refused by the sandbox)")
        if isinstance(error, _ENDS_ITERATIONS):
            # As in generators (PEP 479): it would silently end the loop of a test.
            return RuntimeError(f"the code raised {type(error).__name__}")
        if isinstance(error, Exception) or (self._exits and isinstance(error, SystemExit)):
            return error
        return self.fail(f"the code raised {answer['error']}")

    def _served(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the code asks of a function or an iterator that the tests passed."""
        try:
            own = self._mine(request.get("of"))
            if request["ask"] == "next":
                return {"result": to_plain(list(itertools.islice(own, 1)), self._refer)}
            values, named = (from_plain(request.get(key), self._resolve) for key in ("values", "named"))
            return {"result": to_plain(own(*values, **named), self._refer)}
        except NotPlain as error:
            raise self.fail(f"between the code and the tests: {error}") from error
        except Exception as error:
            return described(error, self._refer)

    def _mine(self, number: Any) -> Any:
        if type(number) is not int or not 0 <= number < len(self._own):
            raise NotPlain("a reference that was never made")
        return self._own[number]

    def _refer(self, value: Any) -> list[Any]:
        if isinstance(value, Remote):
            return ["yours", vars(value)[_NUMBER]]
        number = next((n for n, one in self._remotes.items() if one is value), None)
        if number is not None:
            return ["yours", number]
        name = getattr(value, "__name__", "")
        if callable(value) and vars(builtins).get(name) is value:
            return ["builtin", name]
        if not callable(value) and not isinstance(value, Iterator):
            raise NotPlain(f"a value of type {type(value).__name__}")
        self._own.append(value)
        return ["mine", [len(self._own) - 1, "iterator" if isinstance(value, Iterator) else "callable", str(name)]]

    def _resolve(self, kind: str, content: Any, depth: int = 0) -> Any:
        if kind == "yours":
            return self._mine(content)
        if kind == "builtin":
            found = vars(builtins).get(content) if isinstance(content, str) else None
            if not isinstance(found, type):
                raise NotPlain("a name that is no type of Python's")
            return found
        whole = isinstance(content, list) and len(content) == 3 and type(content[0]) is int
        if not whole or depth > DEEPEST_CLASS:
            raise NotPlain("a broken reference")
        number, about, name = content[0], content[1], str(content[2])[:100]
        if kind == "mine" and isinstance(about, list) and "await" in about:
            return _awaited(self, self._remotes.setdefault(number, _remote(self, number, [], name)))
        if number not in self._remotes:
            if kind == "exception":
                is_pair = isinstance(about, list) and len(about) == 2
                base = self._resolve(about[0], about[1], depth + 1) if is_pair else None
                if not isinstance(base, type) or not issubclass(base, BaseException):
                    raise NotPlain("an exception that is none")
                self._remotes[number] = type(name, (base,), {})
            else:
                self._remotes[number] = _remote(self, number, about, name)
        return self._remotes[number]


@dataclass
class _Ahead:
    """What has been read of an iterator of the code."""

    items: list[Any] = field(default_factory=list)
    taken: int = 0
    ended: bool = False


_CODE, _NUMBER, _AHEAD = "<code>", "<number>", "<ahead>"


class Remote:
    """An object of the code."""

    def __init__(self, code: Code, number: int, name: str) -> None:
        # Under keys that no attribute of the code's object can have.
        vars(self).update({_CODE: code, _NUMBER: number, _AHEAD: _Ahead(), "__name__": name, "__qualname__": name})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return vars(self)[_CODE].ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[_CODE].ask("setattr", self, name, value)

    def __repr__(self) -> str:
        return f"<{vars(self)['__name__']} of the code>"


def _next(self: Remote) -> Any:
    """One item; of long iterations up to a sixteenth of those before is read ahead."""
    ahead = vars(self)[_AHEAD]
    if not ahead.items and not ahead.ended:
        code = vars(self)[_CODE]
        found = code.ask("next", self, max(1, ahead.taken // 16))
        if not isinstance(found, tuple) or list(map(type, found)) != [list, bool]:
            raise code.fail("the code gave no items")
        ahead.items, ahead.ended = found[0][::-1], found[1]
    if not ahead.items:
        raise StopIteration
    ahead.taken += 1
    return ahead.items.pop()


def _asks(do: str) -> Callable[..., Any]:
    def method(self: Remote, /, *values: Any, **named: Any) -> Any:
        return vars(self)[_CODE].ask(do, self, *values, **named)

    return method


async def _awaited(code: Code, remote: Remote) -> Any:
    return code.ask("await", remote)


_METHODS: dict[str, dict[str, Callable[..., Any]]] = {
    **{do: {f"__{do}__": _asks(do)} for do in ("call", "bool", "str", "repr", "len", "iter")},
    "next": {"__iter__": lambda self: self, "__next__": _next},
    **{do: {f"__{do}__": _asks(do)} for do in ("getitem", "setitem", "delitem")},
    "class": {"__instancecheck__": lambda self, one: isinstance(one, Remote) and _asks("isinstance")(one, self)},
}


def _remote(code: Code, number: int, abilities: Any, name: str) -> Remote:
    """A reference to an object that can do what is named."""
    if not isinstance(abilities, list) or not all(isinstance(one, str) for one in abilities):
        raise NotPlain("a broken reference")
    methods = {key: method for one, found in _METHODS.items() if one in abilities for key, method in found.items()}
    return type("Remote", (Remote,), methods)(code, number, name)


def _overwrite(own: Any, changed: Any) -> None:
    """Give a container of the tests the content that the code has given its copy."""
    if not any(isinstance(own, kind) and isinstance(changed, kind) for kind in (list, dict, set)):
        raise NotPlain("another argument in place of one")
    if isinstance(own, list):
        own[:] = [_merged(*pair) for pair in zip(own, changed, strict=False)] + changed[len(own) :]
    elif isinstance(own, dict):
        merged = {key: _merged(own.get(key), item) for key, item in changed.items()}
        own.clear()
        own.update(merged)
    else:
        own.clear()
        own.update(changed)


def _merged(own: Any, changed: Any) -> Any:
    """Containers stay the same objects where the code's copy has one of the same kind."""
    if type(own) is type(changed) and isinstance(own, list | dict | set):
        _overwrite(own, changed)
        return own
    return changed
