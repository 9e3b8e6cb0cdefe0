"""The file of a training's parameters: tensors with the step, the training that they are of, and a digest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interlat.errors import CheckpointError
from interlat.files import atomic_path
from interlat.store.shard import as_bytes
from interlat.training.identity import Identity

_TRAINING = "training"
"""Name of what the file says, as JSON."""


@dataclass(frozen=True)
class Header:
    """What a file says of its tensors."""

    step: int
    """After how many steps they were written."""
    identity: Identity = field(default_factory=dict)
    """The training, see `interlat.training.identity`; empty in a file of a version that did not say it."""
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
