"""A trained module with its configuration as one safetensors file: what stands beside a model's checkpoint."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from interlat.errors import CheckpointError, InputError
from interlat.files import write_atomically

METADATA_KEY = "interlat"
FORMAT_VERSION = 1

Module = TypeVar("Module", bound=nn.Module)


class Float32Module(nn.Module):
    """A module that follows its model to a device and never rounds its values: bfloat16 steps are too coarse for
    scalars and norms to learn at all."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)


def save_module(module: nn.Module, config: Any, path: Path, file_format: str) -> Path:
    """Write float32 parameters, with the configuration (a dataclass) in the metadata; atomic.

    Raises:
        StorageError: the file system refused.
    """
    description = {"format": file_format, "format_version": FORMAT_VERSION, "config": dataclasses.asdict(config)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_atomically(path, save(tensors, {METADATA_KEY: json.dumps(description, sort_keys=True)}))
    return path


def load_module(path: Path, file_format: str, kind: str, make: Callable[[dict[str, Any]], Module]) -> Module:
    """What `save_module` wrote, on the CPU and in eval mode.

    Args:
        path: an existing file.
        file_format: name of the format that it must have.
        kind: what it is, for the error texts; begins with an article.
        make: builds the module from the fields of its configuration; TypeError or InputError if they make no sense.

    Raises:
        CheckpointError: the file is damaged, of another format, or does not fit its own configuration.
    """
    make_again = f"copy it again or train {kind} again"
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); {make_again}") from error
    settings = _settings_in(metadata, path, file_format, kind)
    try:
        with torch.device("meta"):
            module = make(settings)
    except (TypeError, InputError) as error:
        raise CheckpointError(f"{path} has an unusable configuration ({error}); {make_again}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
        raise CheckpointError(f"{path} does not fit its own configuration (tensors {', '.join(wrong)}); {make_again}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not tensor.isfinite().all():
            raise CheckpointError(f"tensor {name} of {path} is not finite float32, as it is stored; {make_again}")
    module.load_state_dict(tensors, assign=True)
    return module.requires_grad_(True).eval()


def _settings_in(metadata: dict[str, str], path: Path, file_format: str, kind: str) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        found = (description["format"], description["format_version"])
        settings = dict(description["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not {kind} of interlat; give a folder that training wrote") from error
    if found != (file_format, FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has format {found[0]} version {found[1]}, expected {file_format} version {FORMAT_VERSION}; "
            "use the version of interlat that wrote it"
        )
    return settings
