"""JSON from disk as a dataclass, each value of exactly the type that its field names."""

import functools
import json
import typing
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from interlat.errors import InputError

Kind = TypeVar("Kind")


def typed(kind: type[Kind], fields: Any) -> Kind:
    """The dataclass ``kind`` of JSON fields: a list for a tuple, otherwise nothing is converted.

    Args:
        kind: the dataclass; nested ones come from nested objects.
        fields: what the JSON parser gave.

    Raises:
        ValueError: in one line, no object, an unknown or missing field, or a value of another type.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, got {type(fields).__name__}")
    try:
        # As JSON, since pydantic is strict about lists for tuples where it gets Python values.
        made: Kind = _adapter(kind).validate_json(json.dumps(fields), strict=True, extra="forbid")  # type: ignore[arg-type]
        return made
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "unexpected_keyword_argument":
            raise ValueError(f"unknown field {first['loc'][-1]!r}") from error
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise ValueError(f"{place} is {str(first['input'])[:60]!r}: {first['msg'].lower()}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def json_or_text(text: str) -> Any:
    """What a word of a command line stands for where no type says it: JSON as such, all else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)


def check_range(config: Any, interval: str, *names: str, owner: str = "") -> None:
    """Refuse fields of a dataclass that lie outside an interval; of a tuple every item counts, and None is no number.

    Args:
        config: the dataclass.
        interval: in the notation of mathematics, such as ``[0, 1)`` or ``[1, inf)``.
        names: of the fields.
        owner: what the fields are of, for the error text.

    Raises:
        InputError: a number lies outside.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    for name in names:
        value = getattr(config, name)
        for number in value if isinstance(value, tuple | list) else [value]:
            if number is None or low < number < high or (number == low and interval[0] == "["):
                continue
            if number != high or interval[-1] != "]":
                place = " ".join(filter(None, (owner, name)))
                raise InputError(f"{place} is {value}, expected {_in_words(interval)}; correct it")


def _in_words(interval: str) -> str:
    """``[1, inf)`` -> 1 or more; ``(0, 1]`` -> above 0, at most 1."""
    low, high = interval[1:-1].replace(" ", "").split(",")
    lower = f"{low} or more" if interval[0] == "[" else f"above {low}"
    if high == "inf":
        return lower
    return f"{lower}, {'at most' if interval[-1] == ']' else 'below'} {high}"


def check_choices(config: Any, *names: str, owner: str = "") -> None:
    """Refuse values of fields that are not among those of their `Literal`. Raises InputError."""
    hints = typing.get_type_hints(type(config))
    for name in names:
        value, allowed = getattr(config, name), typing.get_args(hints[name])
        if value not in allowed:
            place = " ".join(filter(None, (owner, name)))
            raise InputError(f"{place} is {value!r}, expected one of {', '.join(allowed)}; correct it")
