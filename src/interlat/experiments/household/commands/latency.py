"""`interlat evaluate latency` and `interlat plot tradeoff`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console
from tyro.conf import Positional

from interlat.config import write_config
from interlat.experiments.household.settings import MeasureLatency
from interlat.progress import completed, say

if TYPE_CHECKING:
    from interlat.results import Results


@dataclass(frozen=True)
class EvaluateLatency:
    """Measure the latency of single messages, from the sender's prompt to the receiver's first action."""

    RENAMED: ClassVar[Mapping[str, str]] = {"games": "limit"}
    episodes: tuple[str, ...]
    """``episodes.jsonl`` files of the games, one for each split."""
    settings: MeasureLatency
    """Models, variants, output folder."""
    limit: int = 10
    """Number of games of each split, a fixed random subset."""
    threads: int = 1
    """Number of torch threads on a CPU."""
    json: bool = False
    """Print one JSON line per measurement on stdout at the end."""

    def run(self) -> "Results":
        """Measure; the measurements."""
        from interlat.experiments.household.episodes import playable_episodes

        records = playable_episodes(self.episodes, self.limit)
        import torch

        from interlat.evaluation.latency import read_measurements
        from interlat.experiments.household.latency import measure_latency

        torch.set_num_threads(self.threads)
        settings = self.settings
        steps = measure_latency(settings, records)
        completed(steps, "messages", begun=lambda: write_config(self, settings.output))
        return read_measurements(settings.output, settings.hash)

    def report(self, found: "Results") -> None:
        """Show the medians."""
        from interlat.evaluation.latency import LATENCY_FILE
        from interlat.report.tradeoff import latencies, latency_table

        if self.json:
            for line in found.records:
                print(json.dumps(line, ensure_ascii=False))
        Console(stderr=True).print(latency_table(latencies(found.records)))
        if found.note:
            say(found.note)
        say(f"measurements in {Path(self.settings.output) / LATENCY_FILE}")


@dataclass(frozen=True)
class PlotTradeoff:
    """Plot success against latency, with confidence intervals."""

    evaluation: Positional[tuple[str, ...]]
    """Output folders of evaluations. Their episodes are pooled, for example those of several training runs."""
    latency: str
    """Output folder of `interlat evaluate latency`."""
    output: str
    """Folder for the figures."""

    def run(self) -> list[Path]:
        """Draw; the pictures."""
        from interlat.evaluation.latency import read_measurements
        from interlat.experiments.household.evaluate import read_played
        from interlat.report.tradeoff import plot_tradeoff

        played = [read_played(folder) for folder in self.evaluation]
        measured = read_measurements(self.latency)
        for found in (*played, measured):
            if found.note:
                say(found.note)
        episodes = [record for found in played for record in found.records]
        return plot_tradeoff(episodes, measured.records, self.output)

    def report(self, paths: list[Path]) -> None:
        """The paths on stdout."""
        for path in paths:
            print(path)
