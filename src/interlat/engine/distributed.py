"""Which process of several this is, when a stage runs under ``torchrun``."""

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import distributed

from interlat.errors import InputError
from interlat.files import locked

Item = TypeVar("Item")
# A rank waits for the slowest share, however long that takes; torchrun ends all ranks if one dies.
PATIENCE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """This process among all of a run."""

    rank: int = 0
    """Its number."""
    world_size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on this machine, which is also that of its GPU."""

    @classmethod
    def from_environment(cls) -> "Ranks":
        """What ``torchrun`` says, or a single process.

        Raises:
            InputError: the variables contradict each other.
        """
        if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
            return cls()
        values = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if not all(value.isdigit() for value in values) or int(values[0]) >= int(values[1]):
            raise InputError(
                f"RANK, WORLD_SIZE and LOCAL_RANK are {', '.join(repr(value) for value in values)}; "
                "start several processes with torchrun, or unset these variables"
            )
        return cls(*(int(value) for value in values))

    @property
    def is_first(self) -> bool:
        """Whether this rank does what is to be done once."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Every ``world_size``-th of the items, so that shares of a sorted list are equally heavy."""
        return list(items[self.rank :: self.world_size])

    def device(self, device: str) -> str:
        """``auto`` as this rank's own GPU, where there are any."""
        return f"cuda:{self.local_rank}" if device == "auto" and torch.cuda.is_available() else device

    def wait(self) -> None:
        """Wait until all ranks are here."""
        if self.world_size > 1:
            distributed.barrier()

    @contextmanager
    def alone_in(self, directory: str | Path) -> Iterator[None]:
        """Be the only run that writes to an output folder, see `interlat.files.locked`; the first rank does it for all.

        Raises:
            StorageError: another process writes there.
        """
        # Ranks that are not connected, one after the other, have nothing to wait for.
        connected = distributed.is_available() and distributed.is_initialized()
        with locked(directory) if self.is_first else nullcontext():
            if connected:
                self.wait()
            yield
            # Not before all are done.
            if connected:
                self.wait()

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sums of values over all ranks, which must all give the same names."""
        if self.world_size == 1:
            return dict(values)
        names = sorted(values)
        total = torch.tensor([values[name] for name in names], dtype=torch.float64)
        distributed.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    @contextmanager
    def together(self, backend: str = "gloo") -> Iterator["Ranks"]:
        """Connect the ranks while the block runs; nothing to do for a single process, or where they are connected.

        Args:
            backend: gloo where ranks exchange no more than numbers on the CPU, so that no GPU needs to take part.
        """
        if self.world_size == 1 or distributed.is_initialized():
            yield self
            return
        distributed.init_process_group(backend, timeout=PATIENCE)
        try:
            yield self
        finally:
            distributed.destroy_process_group()
