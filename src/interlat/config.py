"""Configurations: frozen dataclasses, filled from a YAML file and from the flags of the command line by one reader."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from interlat.errors import InputError
from interlat.files import write_atomically

Config = TypeVar("Config")
CHECKED_BY_CLASS = "checked_by_class"
"""Metadata of a field whose dataclass takes more from a file than its type says, and checks it."""


@dataclasses.dataclass(frozen=True)
class Given:
    """The value of a field as words of the command line."""

    flag: str
    """The flag as it was written, for error texts."""
    words: tuple[str, ...]

    def value(self, hint: Any) -> Any:
        """The value as YAML would hold it: None, a list or a mapping where the type wants one, else the word.

        Raises:
            InputError: a name without a value.
        """
        origins = {typing.get_origin(one) for one in alternatives(hint)}
        if tuple in origins:
            return list(self.words)
        if dict in origins:
            if len(self.words) % 2:
                raise InputError(f"{self.flag}: {self.words[-1]!r} has no value; give names and values in turn")
            return dict(zip(self.words[::2], self.words[1::2], strict=True))
        (word,) = self.words
        return None if type(None) in alternatives(hint) and word.lower() in ("none", "null") else word


def read_config(kind: type[Config], path: str | Path) -> Config:
    """The dataclass ``kind`` filled from a YAML file.

    Raises:
        InputError: no such file, no mapping in it, an unknown field, a value of another type, or a required one
            missing.
    """
    return from_mapping(kind, read_fields(path), str(Path(path).expanduser()))


def read_fields(path: str | Path) -> Any:
    """What a YAML file holds, unchecked; an empty file holds no fields.

    Raises:
        InputError: no such file, not UTF-8, or not YAML.
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
    return {} if fields is None else fields


def from_mapping(
    kind: type[Config],
    fields: Any,
    source: str,
    default: Config | None = None,
    given: Mapping[str, Any] = types.MappingProxyType({}),
) -> Config:
    """The dataclass ``kind`` filled from a mapping, nested dataclasses from nested mappings.

    A field whose type is a union of dataclasses is the one of them that its discriminator names: the field that has a
    type of `Literal` in all of them, such as ``kind``.

    Args:
        source: where they come from, for error texts.
        default: gives the fields that are left out; None takes the defaults of the class. A field that is a dataclass
            is filled up from its own default, which may be other than the default of its class.
        given: flags over the fields: `Given` by name, in nested mappings for nested dataclasses.

    Raises:
        InputError: as `read_config`.
    """
    return _read(kind, fields, source, "", default, given)


def _read(kind: Any, fields: Any, source: str, place: str, default: Any, given: Mapping[str, Any]) -> Any:
    where = f"{source}: {place}" if place else source
    if not isinstance(fields, dict):
        raise InputError(f"{where}: expected fields of {kind.__name__}, got {type(fields).__name__}")
    fields, given = _renamed(kind, fields, where), _renamed(kind, given, where)
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(map(str, set(fields) - set(known)))
    if unknown:
        guess = did_you_mean(unknown[0].replace("-", "_"), known)
        raise InputError(f"{where}: unknown field {unknown[0]!r}{guess}; {kind.__name__} has {', '.join(known)}")
    values: dict[str, Any] = {} if default is None else {name: getattr(default, name) for name in known}
    for name in [*fields, *(name for name in given if name not in fields)]:
        dotted = f"{place}.{name}" if place else name
        value, flag = fields.get(name), given.get(name, {})
        inner = dataclasses_of(hints[name])
        if isinstance(flag, Given):
            values[name] = _checked(flag, hints[name], "", known[name])
        elif inner and not (value is None and name in fields and not flag and type(None) in alternatives(hints[name])):
            below = values.get(name, _default_of(known[name]))
            values[name] = _read_one(inner, fields.get(name, {}), source, dotted, below, flag)
        elif isinstance(value, list) and (inner := _items(hints[name])):
            values[name] = tuple(
                _read_one(inner, one, source, f"{dotted}[{number}]", None, {}) for number, one in enumerate(value)
            )
        elif flag:
            entries = typing.get_args(hints[name])[1]
            values[name] = {**(value or {}), **{key: _checked(one, entries, "") for key, one in flag.items()}}
        else:
            values[name] = _checked(value, hints[name], f"{source}: {dotted}", known[name])
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where} needs {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _read_one(
    kinds: Sequence[Any], fields: Any, source: str, place: str, default: Any, given: Mapping[str, Any]
) -> Any:
    """The dataclass among ``kinds`` that the discriminator in the fields names."""
    kind = kinds[0]
    if len(kinds) > 1:
        tag, named = _discriminator(kinds)
        value = fields.get(tag, getattr(default, tag, None)) if isinstance(fields, dict) else None
        chosen = given[tag].words[0] if tag in given else value
        if chosen not in named:
            guess = did_you_mean(str(chosen), named)
            raise InputError(
                f"{source}: {place}.{tag} is {shortened(chosen)}, expected one of {', '.join(named)}{guess}; correct it"
            )
        kind = named[chosen]
        for name in {*fields, *given} - {field.name for field in dataclasses.fields(kind)}:
            homes = [one for one, other in named.items() if name in {field.name for field in dataclasses.fields(other)}]
            if homes:
                raise InputError(
                    f"{source}: {place}.{name} is for {tag} {', '.join(homes)}, but {tag} is {chosen}; leave it out"
                )
    return _read(kind, fields, source, place, default if isinstance(default, kind) else None, given)


def _discriminator(kinds: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """The field by which a union of dataclasses is told apart; value -> dataclass."""
    hints = [typing.get_type_hints(kind) for kind in kinds]
    tag = next(name for name in hints[0] if all(typing.get_origin(one.get(name)) is Literal for one in hints))
    return tag, {value: kind for kind, one in zip(kinds, hints, strict=True) for value in typing.get_args(one[tag])}


def _renamed(kind: type[Any], fields: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields under their present names: a class says under ``RENAMED`` what older files call them, and under
    ``RENAMED_VALUES`` what they call the values of a field."""
    older: Mapping[str, str] = getattr(kind, "RENAMED", {})
    for old, new in older.items():
        if old in fields and new in fields:
            raise InputError(f"{source}: {old!r} is the older name of {new!r}; give one of them")
    values: Mapping[str, Mapping[str, Any]] = getattr(kind, "RENAMED_VALUES", {})
    renamed = {older.get(name, name): value for name, value in fields.items()}
    return {name: _of_today(value, values[name]) if name in values else value for name, value in renamed.items()}


def _of_today(value: Any, older: Mapping[str, Any]) -> Any:
    if isinstance(value, Given):
        return dataclasses.replace(value, words=tuple(str(older.get(word, word)) for word in value.words))
    return older.get(value, value) if isinstance(value, str) else value


def dataclasses_of(hint: Any) -> tuple[Any, ...]:
    """The dataclasses that a field of this type may hold."""
    return tuple(one for one in alternatives(hint) if dataclasses.is_dataclass(one))


def _items(hint: Any) -> tuple[Any, ...]:
    """The dataclasses of the items of a field ``tuple[D, ...]``; none for other fields."""
    return dataclasses_of(typing.get_args(hint)[0]) if typing.get_origin(hint) is tuple else ()


def _checked(value: Any, hint: Any, name: str, field: dataclasses.Field[Any] | None = None) -> Any:
    """The value as its field's type: a list as a tuple, ``1e-5`` (which YAML reads as text) as a number, ``~/x`` as a
    path in the home folder.

    Raises:
        InputError: it is of another type, or none of the field's choices.
    """
    if isinstance(value, Given):
        name, value = value.flag, value.value(hint)
    if field is not None and field.metadata.get(CHECKED_BY_CLASS):
        return value
    if _holds_bool(value) and not _takes_bool(hint):
        raise InputError(f"{name} is {shortened(value)}, expected {described(hint)}; correct it")
    try:
        found = _adapter(hint).validate_python(value)
    except ValidationError as error:
        inner = error.errors()[0]
        keys = [part for part in inner["loc"] if isinstance(part, int) or (isinstance(value, dict) and part in value)]
        place = "".join(f"[{key}]" for key in keys)
        guess = did_you_mean(inner["input"], _choices(hint)) if isinstance(inner["input"], str) else ""
        raise InputError(
            f"{name}{place} is {shortened(inner['input'])}, expected {described(hint)}{guess}; correct it"
        ) from error
    # A whole number for a number stays one, so that the hashes of configurations stay what they were.
    return value if type(value) is int and found == value else _at_home(found)


def _holds_bool(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, bool) or any(map(_holds_bool, inner))


def _takes_bool(hint: Any) -> bool:
    return hint in (bool, Any) or any(map(_takes_bool, typing.get_args(hint)))


def _at_home(value: Any) -> Any:
    """``~/x`` as a path in the home folder, also in lists and mappings."""
    if isinstance(value, str):
        return str(Path(value).expanduser()) if value.startswith("~/") else value
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    return {key: _at_home(one) for key, one in value.items()} if isinstance(value, dict) else value


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union; of another type itself, without its annotations."""
    if typing.get_origin(hint) is Annotated:
        return alternatives(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(one for part in typing.get_args(hint) for one in alternatives(part))
    return (hint,)


def _choices(hint: Any) -> list[str]:
    own = [str(one) for part in alternatives(hint) if typing.get_origin(part) is Literal for one in part.__args__]
    return own or [one for part in typing.get_args(hint) for one in _choices(part)]


def described(hint: Any) -> str:
    """A type in the words of somebody who writes YAML."""
    parts = alternatives(hint)
    if len(parts) > 1:
        return " or ".join(map(described, parts))
    (hint,) = parts
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(_choices(hint))
    if origin is tuple:
        items = [one for one in typing.get_args(hint) if one is not Ellipsis]
        return f"a list of {', '.join(dict.fromkeys(map(described, items)))}"
    if origin is dict:
        return f"a mapping to {described(typing.get_args(hint)[1])}"
    if dataclasses.is_dataclass(hint):
        return "a mapping with " + ", ".join(field.name for field in dataclasses.fields(hint))
    return names.get(hint, str(hint))


def shortened(value: Any) -> str:
    """A value as it is written in an error text."""
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
