"""Configurations: frozen dataclasses, filled from a YAML file and then from flags."""

import dataclasses
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from interlat.errors import InputError
from interlat.files import write_atomically

Config = TypeVar("Config")


def read_config(kind: type[Config], path: str | Path) -> Config:
    """The dataclass ``kind`` filled from a YAML file.

    Raises:
        InputError: no such file, no mapping in it, an unknown field, or a required one missing.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no configuration file {source}; check the path given to --config")
    try:
        fields = yaml.safe_load(source.read_text())
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{source} is not valid YAML: {first}; correct it") from error
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
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise InputError(f"{source}: unknown field {unknown[0]!r}; {kind.__name__} has {', '.join(known)}")
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
            values[name] = _with_tuples(value) if typing.get_origin(hint) in (tuple, dict) else value
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{source}: {kind.__name__} needs {', '.join(missing)}; add them")
    return kind(**values)


def _dataclass_items(hint: Any) -> Any:
    """The dataclass D of a field ``tuple[D, ...]``; None for other fields."""
    items = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else ()
    return items[0] if items and dataclasses.is_dataclass(items[0]) else None


def _with_tuples(value: Any) -> Any:
    """YAML has lists only; fields have tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


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
