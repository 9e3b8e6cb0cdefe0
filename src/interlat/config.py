"""Configurations: frozen dataclasses, filled from a YAML file and then from flags."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from interlat.errors import InputError
from interlat.files import write_atomically

Config = TypeVar("Config")
CHECKED_BY_CLASS = "checked_by_class"
"""Metadata of a field whose dataclass takes more from a file than its type says, and checks it."""


def read_config(kind: type[Config], path: str | Path) -> Config:
    """The dataclass ``kind`` filled from a YAML file.

    Raises:
        InputError: no such file, no mapping in it, an unknown field, a value of another type, or a required one
            missing.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        found = f"{source} is a folder" if source.is_dir() else f"there is no configuration file {source}"
        raise InputError(f"{found}; check the path given to --config")
    try:
        fields = yaml.safe_load(source.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except RecursionError as error:
        raise InputError(f"{source} is nested too deep; make it flatter") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{source}{place} is not valid YAML: {problem}; correct it") from error
    return from_mapping(kind, {} if fields is None else fields, str(source))


def from_mapping(kind: type[Config], fields: Any, source: str, default: Config | None = None) -> Config:
    """The dataclass ``kind`` filled from a mapping, nested dataclasses from nested mappings.

    Args:
        kind: the dataclass.
        fields: values by name.
        source: where they come from, for error texts.
        default: gives the fields that are left out; None takes the defaults of the class. A field that is a dataclass
            is filled up from its own default, which may be other than that of its class.

    Raises:
        InputError: as `read_config`.
    """
    if not isinstance(fields, dict):
        raise InputError(f"{source}: expected fields of {kind.__name__}, got {type(fields).__name__}")
    fields = _renamed(kind, fields, source)
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(fields) - set(known)))
    if unknown:
        guess = did_you_mean(unknown[0].replace("-", "_"), known)
        raise InputError(f"{source}: unknown field {unknown[0]!r}{guess}; {kind.__name__} has {', '.join(known)}")
    values: dict[str, Any] = {} if default is None else {name: getattr(default, name) for name in known}
    for name, value in fields.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            inner = values.get(name, _default_of(known[name]))
            values[name] = from_mapping(hint, value, f"{source}: {name}", inner)
        elif isinstance(value, list) and (kind_of_items := _dataclass_items(hint)) is not None:
            values[name] = tuple(
                from_mapping(kind_of_items, one, f"{source}: {name}, number {number}")
                for number, one in enumerate(value, 1)
            )
        else:
            free = known[name].metadata.get(CHECKED_BY_CLASS)
            values[name] = value if free else _checked(value, hint, f"{source}: {name}")
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{source}: {kind.__name__} needs {', '.join(missing)}; add them")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _renamed(kind: type[Any], fields: dict[str, Any], source: str) -> dict[str, Any]:
    """The fields under their present names: a class says under ``RENAMED`` what older files
    call them, and under ``RENAMED_VALUES`` what they call the values of a field."""
    older: Mapping[str, str] = getattr(kind, "RENAMED", {})
    for old, new in older.items():
        if old in fields and new in fields:
            raise InputError(f"{source}: {old!r} is the older name of {new!r}; give one of them")
    values: Mapping[str, Mapping[str, Any]] = getattr(kind, "RENAMED_VALUES", {})
    renamed = {older.get(name, name): value for name, value in fields.items()}
    return {
        name: values[name].get(value, value) if name in values and isinstance(value, str) else value
        for name, value in renamed.items()
    }


def _dataclass_items(hint: Any) -> Any:
    """The dataclass D of a field ``tuple[D, ...]``; None for other fields."""
    items = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else ()
    return items[0] if items and dataclasses.is_dataclass(items[0]) else None


def _checked(value: Any, hint: Any, field: str) -> Any:
    """The value as its field's type: a list as a tuple, ``1e-5`` (which YAML reads as text) as a number, ``~/x`` as a
    path in the home folder.

    Raises:
        InputError: it is of another type, or none of the field's choices.
    """
    if isinstance(value, bool) and bool not in _alternatives(hint) and hint is not Any:
        raise InputError(f"{field} is {value!r}, expected {_described(hint)}; correct it")
    try:
        found = _adapter(hint).validate_python(value)
    except ValidationError as error:
        inner = error.errors()[0]
        keys = [part for part in inner["loc"] if isinstance(part, int) or (isinstance(value, dict) and part in value)]
        place = "".join(f"[{key}]" for key in keys)
        guess = did_you_mean(value, _choices(hint)) if isinstance(value, str) else ""
        raise InputError(
            f"{field}{place} is {_shortened(inner['input'])}, expected {_described(hint)}{guess}; correct it"
        ) from error
    if isinstance(found, str) and found.startswith("~/"):
        return str(Path(found).expanduser())
    # A whole number for a number stays one, so that the hashes of configurations stay what they were.
    return value if type(value) is int and found == value else found


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union; of another type itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _choices(hint: Any) -> list[str]:
    return [str(one) for part in _alternatives(hint) if typing.get_origin(part) is Literal for one in part.__args__]


def _described(hint: Any) -> str:
    """A type in the words of somebody who writes YAML."""
    alternatives = _alternatives(hint)
    if len(alternatives) > 1:
        return " or ".join(map(_described, alternatives))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(_choices(hint))
    if origin is tuple:
        items = [one for one in typing.get_args(hint) if one is not Ellipsis]
        return f"a list of {', '.join(dict.fromkeys(map(_described, items)))}"
    if origin is dict:
        return f"a mapping to {_described(typing.get_args(hint)[1])}"
    if dataclasses.is_dataclass(hint):
        return "a mapping with " + ", ".join(field.name for field in dataclasses.fields(hint))
    return names.get(hint, str(hint))


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'`` for the known word that is nearest to a mistyped one; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}" if near else ""


def _default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field that is a dataclass; None if it must be given."""
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def write_config(config: Any, directory: str | Path, name: str = "config.yaml") -> None:
    """Write the resolved configuration into a run directory."""
    plain = dataclasses.asdict(config)
    write_atomically(Path(directory) / name, yaml.safe_dump(_lists(plain), sort_keys=False, allow_unicode=True))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(inner) for inner in value]
    return value
