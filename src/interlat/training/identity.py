"""What a training is made of, so that no other one goes on from its checkpoint: settings, data and models."""

import dataclasses
import json
import typing
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import xxhash

from interlat.errors import CheckpointError
from interlat.states import IN_FILES
from interlat.store.reading import LatentStore
from interlat.training.examples import Example
from interlat.training.settings import Compress, TrainActor

Identity = Mapping[str, Any]
"""Names of settings, data and models -> what they are, as JSON knows it."""

FREE = frozenset(
    {
        "output",
        "device",
        "threads",
        "compile",
        "gradient_checkpointing",
        "schedule.steps",
        "schedule.stop_at",
        "schedule.patience",
        "schedule.micro_batch_size",
        "schedule.checkpoint_every",
    }
)
"""Settings that say where and for how long a training runs, and not what it learns."""


def settings_identity(kind: type[Any], config: Any, places: Collection[str] = ()) -> dict[str, Any]:
    """The settings that must stay the same while a training goes on, by dotted name.

    Args:
        kind: the dataclass whose fields count; ``config`` may be of a subclass with others.
        config: the configuration.
        places: settings that name files, folders or models; what is in them counts, and not how they are called.
    """
    left_out = FREE.union(places)
    return {name: value for name, value in _flat(kind, config).items() if name not in left_out}


def _flat(kind: type[Any], config: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= _flat(type(value), value, f"{name}.")
        else:
            # As it comes back from a file: tuples are lists there.
            found[name] = json.loads(json.dumps(value))
    return found


def examples_identity(*parts: Sequence[Example]) -> str:
    """Digest of examples, in their order: ids, labels, weights and items."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(f"{len(part)}\n".encode())
        for example in part:
            digest.update(json.dumps([example.item, example.soft]).encode())
            for ids in (example.before, example.after, example.labels):
                digest.update(array("q", [len(ids), *ids]))
            digest.update(array("d", example.weights))
    return str(digest.hexdigest())


def records_identity(records: Iterable[Any]) -> str:
    """Digest of values that JSON knows, in their order."""
    digest = xxhash.xxh3_128()
    for record in records:
        digest.update(json.dumps(record, sort_keys=True).encode() + b"\n")
    return str(digest.hexdigest())


def thoughts_identity(*stores: LatentStore) -> str:
    """Digest of what stores hold, wherever they lie: tasks, plans, the checksums of the rows, and how to read them."""
    columns = ("id", "task", "plan", "length", "checksum")

    def records() -> Iterable[Any]:
        for store in stores:
            manifest = store.manifest
            layers = [dataclasses.astuple(layer) for layer in manifest.layers]
            yield [manifest.weights_fingerprint, layers, IN_FILES[manifest.state_at], manifest.settings.get("prompt")]
            yield from zip(*(store.table.column(name).to_pylist() for name in columns), strict=True)

    return records_identity(records())


def check_identity(place: Any, known: Identity, now: Identity) -> None:
    """Refuse to go on with a training that is another one.

    Settings that the checkpoint in ``place`` does not name are of a later version than the one that wrote it, and not
    compared; ``now`` may be a part of what is to be trained.

    Raises:
        CheckpointError: something differs; the text names what, the value in the checkpoint and the one now.
    """
    for kind in (TrainActor, Compress):
        known = dict(_of_today(kind, name, value) for name, value in known.items())
    different = [name for name in now if name in known and known[name] != now[name]]
    if different:
        shown = "; ".join(f"{name} was {_short(known[name])} and is now {_short(now[name])}" for name in different)
        raise CheckpointError(
            f"{place} is of another training: {shown}; give the settings and data that it was begun "
            "with, or another output folder"
        )


def _of_today(kind: Any, name: str, value: Any) -> tuple[str, Any]:
    """A setting of a dataclass under the names that it and its values have now."""
    first, dot, rest = name.partition(".")
    first = getattr(kind, "RENAMED", {}).get(first, first)
    if dot:
        rest, value = _of_today(typing.get_type_hints(kind or object).get(first), rest, value)
    elif isinstance(value, str):
        value = getattr(kind, "RENAMED_VALUES", {}).get(first, {}).get(value, value)
    return first + dot + rest, value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."
