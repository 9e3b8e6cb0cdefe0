"""What a training is made of (settings, data, models), and the file of its parameters that says so, with a digest."""

import dataclasses
import json
import typing
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interlat.errors import CheckpointError
from interlat.files import atomic_path
from interlat.states import IN_FILES
from interlat.store.reading import LatentStore
from interlat.store.shard import as_bytes
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
        "export",
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

    They are the fields of ``kind``, the class of ``config`` or one above it, but for ``places``, which name files,
    folders or models: what is in them counts, and not how they are called.
    """
    left_out = FREE.union(places)
    return {name: value for name, value in _flat(kind, config).items() if name not in left_out}


def _flat(kind: type[Any], config: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in dataclasses.fields(kind):
        name, value = prefix + one.name, getattr(config, one.name)
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


_TRAINING = "training"
"""Name of what the file says, as JSON."""


@dataclass(frozen=True)
class Header:
    """What a file says of its tensors."""

    step: int
    """After how many steps they were written."""
    identity: Identity = field(default_factory=dict)
    """The training, see `interlat.training.checkpoint_file`; empty in a file of a version that did not say it."""
    digest: str = ""
    """xxh3-128 over names, formats, shapes and values of the tensors; empty as above. It finds damage, not forgery."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], step: int, identity: Identity) -> None:
    """Write contiguous CPU tensors, atomically.

    Raises:
        StorageError: the file system refused.
    """
    content = {"step": step, "identity": identity, "digest": digest_of(tensors)}
    # Under one name: safetensors writes several in any order, and equal trainings have equal files.
    metadata = {_TRAINING: json.dumps(content, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata=metadata)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """The digest of `Header`."""
    digest = xxhash.xxh3_128()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(as_bytes(tensor))
    return str(digest.hexdigest())


def read_header(path: Path) -> Header | None:
    """What a file says of its tensors; None where there is none.

    Raises:
        CheckpointError: it is damaged, or no file of `write_tensors`.
    """
    return _read(path, with_tensors=False)[0] if path.exists() else None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        CheckpointError: it is missing, damaged, or its tensors are not those that were written.
    """
    header, tensors = _read(path, with_tensors=True)
    if header.digest and digest_of(tensors) != header.digest:
        raise _damaged(path, "its tensors are not those that were written")
    return tensors


def _read(path: Path, with_tensors: bool) -> tuple[Header, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if with_tensors else ()
            tensors = {name: file.get_tensor(name) for name in names}
        # The first version of the format wrote the step alone.
        said = dict(json.loads(metadata[_TRAINING])) if _TRAINING in metadata else metadata
        header = Header(int(said["step"]), dict(said.get("identity", {})), str(said.get("digest", "")))
        return header, tensors
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"it does not say {error}" if isinstance(error, KeyError) else str(error)
        raise _damaged(path, reason) from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged ({reason}); restore it, or remove it and {path.parent / 'metrics.jsonl'} to begin again"
    )
