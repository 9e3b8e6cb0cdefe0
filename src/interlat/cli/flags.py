"""From the words of a command line to the fields of its settings, for the one reader of configurations."""

import dataclasses
import functools
import typing
from collections.abc import Sequence
from typing import Any

from tyro.conf import Positional

from interlat.config import Given, alternatives, dataclasses_of, described, did_you_mean
from interlat.errors import InputError

_POSITIONAL = typing.get_args(Positional[str])[1]


def given_fields(kind: type[Any], words: Sequence[str]) -> dict[str, Any]:
    """The fields that the words give: `Given` by name, in nested mappings for ``--outer.inner``.

    ``--flag value``, ``--flag=value``, ``--flag``, ``--no-flag``; several values for a list; names and values in turn
    for a mapping, or ``--flag.name value``; hyphens and underscores are the same. Older names of fields
    (``RENAMED``) are flags, too.

    Raises:
        InputError: an unknown flag, a flag without its value, or a word too many.
    """
    given: dict[str, Any] = {}
    loose: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            loose.append(word)
            continue
        flag, equals, value = word.partition("=")
        path, hint = _field(kind, flag)
        if hint is None:
            path, hint = _field(kind, flag.replace("--no-", "--", 1).replace(".no-", ".", 1))
            if hint is None or bool not in alternatives(hint) or equals:
                raise InputError(f"unknown flag {flag}{did_you_mean(flag.replace('_', '-'), _flags(kind))}")
            taken = ["false"]
        else:
            taken = [value] if equals else _values(flag, hint, left)
        _put(given, path, Given(flag, tuple(taken)))
    _place(kind, given, loose)
    return given


def _field(kind: Any, flag: str) -> tuple[list[str], Any]:
    """The path of the field that a flag names, and its type; no type where there is no such field."""
    path, hint = flag.removeprefix("--").split("."), kind
    for place, part in enumerate(path):
        if typing.get_origin(hint) is dict:
            # What follows is a name in the mapping, written as it is.
            return [*path[:place], ".".join(path[place:])], typing.get_args(hint)[1]
        found, part = None, part.replace("-", "_")
        for one in dataclasses_of(hint):
            found = found or _hints(one).get(getattr(one, "RENAMED", {}).get(part, part))
        path[place], hint = part, found
    return path, None if dataclasses_of(hint) else hint


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind, include_extras=True).items() if name in names}


def _values(flag: str, hint: Any, left: list[str]) -> list[str]:
    """Take the values of a flag from the words that are left."""
    origins = {typing.get_origin(one) for one in alternatives(hint)}
    count = next((place for place, word in enumerate(left) if word.startswith("--")), len(left))
    if bool in alternatives(hint):
        count = int(count > 0 and left[0].lower() in ("true", "false", "none", "null"))
        return [left.pop(0)] if count else ["true"]
    if not origins & {tuple, dict}:
        if not count:
            raise InputError(f"{flag} has no value, expected {described(hint)}; add it")
        count = 1
    taken = left[:count]
    del left[:count]
    return taken


def _put(given: dict[str, Any], path: Sequence[str], value: Given) -> None:
    for part in path[:-1]:
        inner = given.setdefault(part, {})
        if isinstance(inner, Given):
            inner = given[part] = {}
        given = inner
    given[path[-1]] = value


def _place(kind: Any, given: dict[str, Any], loose: Sequence[str]) -> None:
    """Give the words that belong to no flag to the positional fields, in order."""
    for name, hint in _hints(kind).items():
        if loose and _POSITIONAL in getattr(hint, "__metadata__", ()):
            many = any(typing.get_origin(one) is tuple for one in alternatives(hint))
            given[name], loose = Given(name, tuple(loose if many else loose[:1])), () if many else loose[1:]
    if loose:
        raise InputError(f"unexpected {loose[0]!r}; flags begin with --")


def _flags(kind: Any, prefix: str = "--") -> list[str]:
    """All flags, for guesses."""
    flags = []
    for name, hint in _hints(kind).items():
        inner = dataclasses_of(hint)
        flags += [flag for one in inner for flag in _flags(one, f"{prefix}{name}.")] or [f"{prefix}{name}"]
    return [flag.replace("_", "-") for flag in flags]
