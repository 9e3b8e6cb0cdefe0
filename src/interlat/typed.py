"""JSON from disk as a dataclass, each value of exactly the type that its field names."""

import functools
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

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


@functools.cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
