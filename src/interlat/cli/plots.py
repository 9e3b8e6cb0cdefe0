"""`interlat store plot`, `interlat plot training` and `interlat plot parallelism`: pictures, their paths on stdout."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from tyro.conf import Positional

from interlat.cli.store import open_store
from interlat.config import write_config
from interlat.errors import InputError
from interlat.files import write_atomically
from interlat.progress import completed
from interlat.store.manifest import read_manifest


class _Plot:
    def report(self, paths: Sequence[Path]) -> None:
        for path in paths:
            print(path)


@dataclass(frozen=True)
class PlotStore(_Plot):
    """Plot the lengths and norms of a store's messages, and their first two principal components."""

    store: Positional[str]
    """Folder of the store."""
    output: str
    """Folder for the figures."""
    split: str = ""
    """Plot only the messages of this split."""
    max_rows: int = 20000
    """Largest number of latents whose norms are counted, a random sample."""
    seed: int = 0
    """Seed of the sample of messages and latents."""

    def run(self) -> Sequence[Path]:
        store = open_store(self.store)
        from interlat.report.store_figures import plot_store

        return plot_store(store.split(self.split) if self.split else store, self.output, self.max_rows, self.seed)


@dataclass(frozen=True)
class PlotTraining(_Plot):
    """Plot the loss curves of a training run, or compare the validation losses of several. Runs may be in progress."""

    runs: Positional[tuple[str, ...]]
    """Output folders of the training runs."""
    output: str | None = None
    """Folder for the figure. None uses the folder of the run, if there is only one."""

    def run(self) -> Sequence[Path]:
        from interlat.report.training_figures import plot_training

        return plot_training(self.runs, self.output)


@dataclass(frozen=True)
class PlotParallelism(_Plot):
    """Plot how many continuations latents hold at once, for a trained sender and for untrained latent steps."""

    model: str
    """Folder or hub id of a compressed sender."""
    thoughts: str
    """Latent store. Its tasks and prompts are used."""
    output: str
    """Folder for the figures and ``latents.jsonl``."""
    untrained: str | None = None
    """Model that takes the untrained steps. None uses ``model`` without its bridge."""
    latent_steps: int = 6
    """Number K of latent steps."""
    limit: int = 200
    """Number of tasks."""

    def run(self) -> Sequence[Path]:
        read_manifest(self.thoughts)
        from interlat.report.parallelism import parallelism_table, plot_parallelism, steps_of

        senders = {"untrained": self._read("untrained"), "trained": self._read("trained")}
        if not senders["trained"]:
            raise InputError(f"{self.thoughts} holds no thoughts; collect some")
        lines = [json.dumps({"sender": name, **record}) for name, records in senders.items() for record in records]
        write_config(self, self.output)
        write_atomically(Path(self.output) / "latents.jsonl", "".join(f"{line}\n" for line in lines))
        paths = plot_parallelism(senders, self.output)
        Console(stderr=True).print(parallelism_table({name: steps_of(found) for name, found in senders.items()}))
        return paths

    def _read(self, sender: str) -> list[dict[str, Any]]:
        from interlat.evaluation.parallelism import ReadLatents, read_latents

        untrained = sender == "untrained"
        model = (untrained and self.untrained) or self.model
        settings = ReadLatents(model, self.thoughts, self.latent_steps, self.limit, untrained=untrained)
        found: list[dict[str, Any]] = []

        def steps() -> Iterator[tuple[int, int]]:
            for done, total, records in read_latents(settings):
                found.extend(records)
                yield done, total

        completed(steps(), sender)
        return found
