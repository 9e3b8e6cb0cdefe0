"""A trained module with its configuration as one safetensors file: what stands beside a model's checkpoint."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from interlat.engine.protocol import Engine
from interlat.errors import CheckpointError, InputError
from interlat.files import write_atomically
from interlat.states import in_files, of_files
from interlat.typed import typed

METADATA_KEY = "interlat"
FORMAT_VERSION = 1
_STORED = ((torch.float32,), (torch.float32, torch.bfloat16))
"""Number formats in a file: of what is no matrix, and of matrices."""


class StoredModule(nn.Module):
    """A module that follows its model to a device, never rounds its values, and is stored beside the checkpoint.

    Float32 whatever surrounds it: bfloat16 steps are too coarse for scalars and norms to learn at all. A subclass says
    what its file is called, and `config` is what it is made of: a dataclass whose fields JSON knows, tuples apart.
    """

    FILE: ClassVar[str]
    """Name of the file in the folder of a model."""
    FORMAT: ClassVar[str]
    """Name of its format."""
    KIND: ClassVar[str]
    """What it is, for the error texts; begins with an article."""
    MISSING: ClassVar[str]
    """What a folder without the file is, and what to do then."""
    CONFIG: ClassVar[type[Any]]
    """Type of `config`."""

    config: Any

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)

    @classmethod
    def for_engine(cls, engine: Engine, folder: str | Path = "") -> Self:
        """The module in ``folder``, by default the folder of the engine's own model, on the engine's device.

        Raises:
            CheckpointError: as `load`.
        """
        return cls.load(folder or engine.name, engine.device).requires_grad_(False)

    def save(self, directory: str | Path, matrices: torch.dtype = torch.float32) -> Path:
        """Write the file into ``directory``: float32 parameters, the configuration in the metadata; atomic.

        Args:
            matrices: number format of the matrices in the file alone, float32 or bfloat16 for one of half the size.

        Raises:
            StorageError: the file system refused.
        """
        config = in_files(dataclasses.asdict(self.config))
        description = {"format": self.FORMAT, "format_version": FORMAT_VERSION, "config": config}
        values = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        tensors = {name: value.to(matrices) if value.ndim > 1 else value for name, value in values.items()}
        path = Path(directory) / self.FILE
        write_atomically(path, save(tensors, {METADATA_KEY: json.dumps(description, sort_keys=True)}))
        return path

    @classmethod
    def load(cls, directory: str | Path, device: torch.device | str = "cpu") -> Self:
        """The module in ``directory``, in eval mode.

        Raises:
            CheckpointError: none there, or the file is damaged, of another format, or does not fit its own
                configuration.
        """
        path = Path(directory) / cls.FILE
        if not path.is_file():
            raise CheckpointError(f"{directory} {cls.MISSING}")
        make_again = f"copy it again or train {cls.KIND} again"
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); {make_again}") from error
        try:
            description: dict[str, Any] = json.loads(metadata[METADATA_KEY])
            found_format = (description["format"], description["format_version"])
            settings = dict(description["config"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is not {cls.KIND} of interlat; give a folder that training wrote") from error
        if found_format != (cls.FORMAT, FORMAT_VERSION):
            raise CheckpointError(
                f"{path} has format {found_format[0]} version {found_format[1]}, expected {cls.FORMAT} version "
                f"{FORMAT_VERSION}; use the version of interlat that wrote it"
            )
        try:
            with torch.device("meta"):
                module = cls(typed(cls.CONFIG, of_files(settings)))
        except (ValueError, TypeError, RuntimeError, OverflowError, InputError) as error:
            raise CheckpointError(f"{path} has an unusable configuration ({error}); {make_again}") from error
        expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != expected:
            wrong = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
            raise CheckpointError(
                f"{path} does not fit its own configuration (tensors {', '.join(wrong)}); {make_again}"
            )
        for name, tensor in tensors.items():
            if tensor.dtype not in _STORED[tensor.ndim > 1] or not tensor.isfinite().all():
                raise CheckpointError(f"tensor {name} of {path} is not finite float32, as it is stored; {make_again}")
        module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        return module.requires_grad_(True).eval().to(device)
