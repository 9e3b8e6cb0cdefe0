"""`interlat evaluate`: any sender, receiver, environment, channels and controls."""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from interlat.cli.main import COMMANDS, run_items
from interlat.evaluation.settings import Evaluate
from interlat.places import short_name
from interlat.progress import say

if TYPE_CHECKING:
    from interlat.engine.distributed import Ranks
    from interlat.results import Results

HOUSEHOLD_FIELDS = frozenset({"settings", "episodes", "games", "draw"})
"""Fields of the command of the first edition, which played household games alone."""


@dataclass(frozen=True)
class EvaluateCommand(Evaluate):
    """Let a sender send messages over channels to a receiver, which acts in an environment, with controls."""

    threads: int | None = None
    """Number of torch threads on a CPU. None leaves torch's default."""
    by: Literal["split", "task_type", "level"] = "split"
    """How results are grouped. level is for math and arithmetic."""
    json: bool = False
    """Print one JSON line per result on stdout at the end."""
    ray: int = 0
    """Number of workers of a Ray cluster that share the items. The cluster is $RAY_ADDRESS, else this machine.
    Each worker loads its own models. 0 runs without Ray."""

    @classmethod
    def form_of(cls, fields: Mapping[str, Any], words: list[str]) -> type[Any]:
        """The class of some settings: settings of the first edition name ``episodes`` and ``settings``."""
        named = {word.lstrip("-").partition("=")[0].partition(".")[0] for word in words if word.startswith("--")}
        if not HOUSEHOLD_FIELDS & {*fields, *named}:
            return cls
        household: type[Any] = COMMANDS["household.evaluate"]
        return household

    def run(self) -> "Results | None":
        """Run or continue; the results. Under torchrun the first process reports, and the others return None."""
        from interlat.evaluation.evaluate import results_of

        return results_of(self) if run_items(self, "results") else None

    def steps(self, ranks: "Ranks") -> Iterator[tuple[int, int]]:
        """Run the share of a rank."""
        import torch

        from interlat.evaluation.evaluate import evaluate_steps

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        yield from evaluate_steps(self, ranks)

    def report(self, found: "Results | None") -> int:
        """Write the report and show its table; 1 if items failed, such as one that does not fit the context."""
        if found is None:
            return 0
        from interlat.evaluation.inspections import read_inspections
        from interlat.report.evaluation import report_evaluation

        if self.json:
            for line in found.records:
                print(json.dumps(line, ensure_ascii=False))
        report = report_evaluation(
            found.records,
            self.output,
            by=self.by,
            inspections=read_inspections(self.output).get("items", {}),
            title=f"{self.environment}: from {short_name(self.sender)} to {short_name(self.receiver or self.sender)}",
            command=shlex.join(sys.argv),
        )
        Console(stderr=True).print(report.table)
        if found.note:
            say(found.note)
        say(f"results in {self.output}, page in {Path(self.output) / 'report.html'}")
        return int(any(line["failure"] for line in found.records))
