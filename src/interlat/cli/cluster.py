"""``--ray N``: the items of a stage shared out over N workers of a Ray cluster, each with the models.

A share is what a rank of ``torchrun`` would do: the same items, the same files. A worker whose node dies leaves what it
had finished in the output folder, which all nodes see, and another worker goes on there.
"""

import functools
import importlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from interlat import errors
from interlat.config import from_mapping, read_fields, write_config
from interlat.engine.checkpoint import first_line
from interlat.engine.distributed import Ranks
from interlat.errors import InputError, InterlatError
from interlat.files import locked

SECONDS = 1.0
"""Between two looks at the workers."""
ATTEMPTS = 3
"""Times that a share may die without having finished anything."""


class Stage(Protocol):
    """A command that does something for each of many items."""

    output: str
    ray: int

    def steps(self, ranks: Ranks) -> Iterator[tuple[int, int]]:
        """Run or continue the share of a rank; yields (done, all) of it."""
        ...


@dataclass(frozen=True)
class Share(Ranks):
    """One rank of several that never meet: nobody waits for another, and what is done once is done afterwards."""

    @property
    def is_first(self) -> bool:
        return False

    def wait(self) -> None:
        """Nobody waits."""

    @contextmanager
    def together(self, backend: str = "gloo") -> Iterator[Ranks]:
        """Nothing to connect."""
        yield self

    @contextmanager
    def alone_in(self, directory: str | Path) -> Iterator[None]:
        """Be the only one with this share: a worker that was taken for dead may still write."""
        with locked(directory, f"share-{self.rank}"):
            yield


class Worker:
    """What runs in a process of the cluster."""

    def __init__(self, kind: str, fields: dict[str, Any], folder: str) -> None:
        os.chdir(folder)
        module, _, name = kind.partition(":")
        self.command: Any = from_mapping(getattr(importlib.import_module(module), name), fields, "--ray")
        self.progress = 0, 0

    def done(self) -> tuple[int, int]:
        """How much of the share is finished, of how much."""
        return self.progress

    def work(self, rank: int, shares: int) -> tuple[str, str]:
        """Do a share, or with 0 shares what is to be done once; the kind and text of an error, both empty if none."""
        try:
            for progress in self.command.steps(Share(rank, shares) if shares else Ranks()):
                self.progress = progress
        except InterlatError as error:
            # As words: what a worker raises otherwise would be unpickled.
            return type(error).__name__, str(error)
        return "", ""


def on_ray(command: Stage) -> Iterator[tuple[int, int]]:
    """Run or continue a stage on the Ray cluster that ``RAY_ADDRESS`` names, else on one of this machine.

    Yields (done, all). Every worker gets a GPU where the cluster has any. The output folder and all files of the stage
    have to be visible under the same paths on all nodes.

    Raises:
        InputError: the package ray is missing, or there are fewer than one worker.
        InterlatError: as the stage; or a share died several times without having finished anything.
    """
    if command.ray < 1:
        raise InputError(f"ray is {command.ray} workers; give 1 or more")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError("--ray needs the package ray; run: pip install 'interlat[ray]'") from error
    with tempfile.TemporaryDirectory() as folder:
        write_config(command, folder)
        fields = read_fields(Path(folder) / "config.yaml")
    kind = f"{type(command).__module__}:{type(command).__qualname__}"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"there is no Ray cluster at {os.environ.get('RAY_ADDRESS', 'this machine')} ({first_line(error)}); "
                "start it or correct RAY_ADDRESS"
            ) from error
    try:
        gpus = float("GPU" in ray.cluster_resources())
        kept = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus, max_concurrency=2)
        make = functools.partial(kept.remote, kind, fields, os.getcwd())
        with locked(command.output):
            for progress in _share_out(ray, make, command.ray, range(command.ray)):
                yield progress
        # What is done once, when no other process holds the folder.
        for _ in _share_out(ray, make, 0, [0]):
            yield progress
    finally:
        if began:
            ray.shutdown()


def _share_out(ray: Any, make: Any, shares: int, ranks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Let workers do the shares of some ranks, each again where its worker died."""
    workers = {rank: make() for rank in ranks}
    running = {worker.work.remote(rank, shares): rank for rank, worker in workers.items()}
    known, most, died = dict.fromkeys(workers, (0, 0)), dict.fromkeys(workers, 0), dict.fromkeys(workers, 0)
    while running:
        ended, _ = ray.wait(list(running), timeout=SECONDS)
        for rank in list(running.values()):
            said = _asked(ray, workers[rank])
            if said is not None and said[1]:
                known[rank] = said
            if known[rank][0] > most[rank]:
                most[rank], died[rank] = known[rank][0], 0
        for one in ended:
            rank = running.pop(one)
            try:
                _raise(*ray.get(one))
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                died[rank] += 1
                if died[rank] >= ATTEMPTS:
                    raise InterlatError(
                        f"a worker died {ATTEMPTS} times without having finished anything more "
                        f"({first_line(error)}); look into the logs of ray, and run again: what is done is kept"
                    ) from error
                time.sleep(SECONDS)
                workers[rank] = make()
                running[workers[rank].work.remote(rank, shares)] = rank
            else:
                # Its memory and its place are for others. Not killed, so that it clears up.
                workers[rank].__ray_terminate__.remote()
        yield sum(done for done, _ in known.values()), sum(total for _, total in known.values())


def _asked(ray: Any, worker: Any) -> tuple[int, int] | None:
    """A worker's progress; None where it does not say: it is dead or has not begun."""
    try:
        found: tuple[int, int] = ray.get(worker.done.remote(), timeout=SECONDS)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError:
        return None
    return found


def _raise(kind: str, text: str) -> None:
    if kind:
        raise getattr(errors, kind, InterlatError)(text)
