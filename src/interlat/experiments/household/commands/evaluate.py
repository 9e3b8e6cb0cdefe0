"""`interlat evaluate` of the household experiment."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console

from interlat.config import write_config
from interlat.errors import InputError
from interlat.experiments.household.settings import EvaluateHousehold
from interlat.progress import say

if TYPE_CHECKING:
    from interlat.results import Results


@dataclass(frozen=True)
class Evaluate:
    """Play held-out games under variants and controls. The same command continues an interrupted run."""

    RENAMED: ClassVar[Mapping[str, str]] = {"games": "limit"}
    episodes: tuple[str, ...]
    """``episodes.jsonl`` files of the games, one for each split."""
    settings: EvaluateHousehold
    """Models, variants, output folder."""
    limit: int | None = None
    """Play a fixed random subset of this many games of each split. None plays all."""
    draw: int = 0
    """Which draw of the evidence the sender gets, counted from 0. Training games have several draws."""
    draws: int = 1
    """Play every game with this many evidence draws, from ``draw`` on. Each has its own seed for samples and controls.
    Tests and intervals of differences count each game once."""
    threads: int = 2
    """Number of torch threads on a CPU."""
    json: bool = False
    """Print one JSON line per episode on stdout at the end."""

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}, expected at least 1")

    def run(self) -> "Results":
        """Play; the episodes."""
        from interlat.experiments.household.episodes import of_draw, playable_episodes

        games = playable_episodes(self.episodes, self.limit)
        drawn = [of_draw(games, self.draw + number) for number in range(self.draws)]
        import torch

        from interlat.experiments.household.evaluate import played_under_seeds

        torch.set_num_threads(self.threads)
        return played_under_seeds(self.settings, drawn, lambda: write_config(self, self.settings.output))

    def report(self, played: "Results") -> None:
        """Write the report and show its table."""
        from interlat.experiments.household.evaluate import RESULTS_FILE

        page = show_report(played, self.settings.output, self.json, Console(stderr=True))
        say(f"episodes in {Path(self.settings.output) / RESULTS_FILE}, report in {page}")


def show_report(played: "Results", output: str, as_json: bool, console: Console) -> Path:
    """Write the report of some episodes into their run directory and show its table; the page.

    Args:
        played: the episodes.
        output: the run directory.
        as_json: print one JSON line an episode on stdout.
        console: shows the table.
    """
    from interlat.experiments.household.evaluate import INSPECTIONS_FILE
    from interlat.experiments.household.report import build_report

    if as_json:
        for line in played.records:
            print(json.dumps(line, ensure_ascii=False))
    inspections = json.loads((Path(output) / INSPECTIONS_FILE).read_text())
    report = build_report(played.records, output, inspections=inspections, command=shlex.join(sys.argv))
    console.print(report.table)
    if played.note:
        say(played.note)
    return report.page
