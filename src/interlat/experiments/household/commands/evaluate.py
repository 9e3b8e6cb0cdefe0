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
from interlat.experiments.household.settings import EvaluateHousehold
from interlat.progress import completed, say

if TYPE_CHECKING:
    from interlat.results import Results


@dataclass(frozen=True)
class Evaluate:
    """Play held-out games under variants and controls; continues where it was interrupted."""

    RENAMED: ClassVar[Mapping[str, str]] = {"games": "limit"}
    episodes: tuple[str, ...]
    """``episodes.jsonl`` of each split to play on."""
    settings: EvaluateHousehold
    """Models, variants, output folder."""
    limit: int | None = None
    """Play this many games of each split, a fixed random subset; None plays all."""
    draw: int = 0
    """Which draw of each game's evidence the sender has; those of training games were drawn several times."""
    threads: int = 2
    """Threads of torch on a CPU."""
    json: bool = False
    """Print one JSON line an episode on stdout at the end."""

    def run(self) -> "Results":
        """Play; the episodes."""
        from interlat.experiments.household.episodes import of_draw, playable_episodes

        records = of_draw(playable_episodes(self.episodes, self.limit), self.draw)
        import torch

        from interlat.experiments.household.evaluate import (
            check_evidence,
            evaluate_household,
            results_of,
            write_inspections,
        )

        torch.set_num_threads(self.threads)
        check_evidence(self.settings, records)
        steps = evaluate_household(self.settings, records)
        completed(steps, "episodes", begun=lambda: write_config(self, self.settings.output))
        write_inspections(self.settings, records)
        return results_of(self.settings)

    def report(self, played: "Results") -> None:
        """Write the report and show its table."""
        from interlat.experiments.household.evaluate import INSPECTIONS_FILE, RESULTS_FILE
        from interlat.experiments.household.report import build_report
        from interlat.results import read_results

        folder = Path(self.settings.output)
        if self.json:
            for line in read_results([folder / RESULTS_FILE]).records:
                print(json.dumps(line, ensure_ascii=False))
        inspections = json.loads((folder / INSPECTIONS_FILE).read_text())
        report = build_report(played.records, folder, inspections=inspections, command=shlex.join(sys.argv))
        Console(stderr=True).print(report.table)
        if played.note:
            say(played.note)
        say(f"episodes in {folder / RESULTS_FILE}, report in {report.page}")
