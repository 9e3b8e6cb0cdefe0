"""What a training is made of, so that no other one goes on from its checkpoint: settings, data and models."""

import dataclasses
import json
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import xxhash

from interlat.errors import CheckpointError
from interlat.states import IN_FILES
from interlat.store.reading import LatentStore
from interlat.training.examples import Example

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
_RENAMED = {
    "trained": "finetune",
    "corrected": "dagger",
    "low_rank.rank": "lora.rank",
    "low_rank.alpha": "lora.alpha",
    "low_rank.targets": "lora.targets",
    "losses.separation": "losses.contrastive",
    "losses.alignment": "losses.plan_distillation",
    "losses.agreement": "losses.distillation",
    "losses.direction": "losses.mean_cosine",
    "losses.hint": "losses.lens_distillation",
    "losses.floor": "losses.min_position_weight",
    "schedule.gradient_clip": "schedule.max_grad_norm",
    "schedule.validate_every": "schedule.eval_every",
    "schedule.keep": "schedule.load_best_at_end",
}
"""Names of settings in the checkpoints of an older version -> those of today."""
_RENAMED_VALUES: Mapping[str, Mapping[Any, Any]] = {
    "finetune": {"everything": "full", "low_rank": "lora"},
    "schedule.load_best_at_end": {"best": True, "last": False},
}


def settings_identity(kind: type[Any], config: Any, places: Collection[str] = ()) -> dict[str, Any]:
    """The settings that must stay the same while a training goes on, by dotted name.

    Args:
        kind: the dataclass whose fields count; ``config`` may be of a subclass with others.
        config: the configuration.
        places: settings that name files, folders or models; what is in them counts, and not how they are called.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}
    left_out = FREE.union(places)
    return {name: value for name, value in _flat(values).items() if name not in left_out}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            found |= _flat(inner, f"{prefix}{name}.")
        else:
            # As it comes back from a file: tuples are lists there.
            found[prefix + name] = json.loads(json.dumps(value))
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

    Settings that the checkpoint does not name are of a later version than the one that wrote it, and not compared.

    Args:
        place: the checkpoint, for the error text.
        known: what the checkpoint says; empty where it is of a version that said nothing.
        now: what is to be trained, or a part of it.

    Raises:
        CheckpointError: something differs; the text names what, the value in the checkpoint and the one now.
    """
    known = of_today(known)
    different = [name for name in now if name in known and known[name] != now[name]]
    if different:
        shown = "; ".join(f"{name} was {_short(known[name])} and is now {_short(now[name])}" for name in different)
        raise CheckpointError(
            f"{place} is of another training: {shown}; give the settings and data that it was begun "
            "with, or another output folder"
        )


def of_today(identity: Identity) -> dict[str, Any]:
    """An identity under the names that settings have now."""
    renamed = {_RENAMED.get(name, name): value for name, value in identity.items()}
    return {
        name: _RENAMED_VALUES[name].get(value, value) if name in _RENAMED_VALUES else value
        for name, value in renamed.items()
    }


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."
