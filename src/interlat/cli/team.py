"""`interlat team`."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from interlat.cli.main import run_stage
from interlat.evaluation.team_settings import EvaluateTeams
from interlat.progress import say

if TYPE_CHECKING:
    from interlat.results import Results


@dataclass(frozen=True)
class RunTeam(EvaluateTeams):
    """Ask one agent, teams that write, teams that think and their controls the same questions."""

    threads: int = 2
    """Threads of torch on a CPU."""
    json: bool = False
    """Print one JSON line an answer on stdout at the end."""

    def run(self) -> "Results | None":
        """Ask; the answers. Under torchrun the first process reports for all, and the others return None."""
        import torch

        from interlat.engine.distributed import Ranks
        from interlat.evaluation.teams import evaluate_teams, results_of

        torch.set_num_threads(self.threads)
        with Ranks.from_environment().together() as ranks:
            is_first = run_stage(self, ranks, evaluate_teams(self, ranks), "answers")
        return results_of(self) if is_first else None

    def report(self, found: "Results | None") -> int:
        """The tables; 1 if an answer could not be given."""
        from interlat.report.teams import team_tables

        if found is None:
            return 0
        records = [record for record in found.records if record["variant"] in self.variants]
        if self.json:
            for record in records:
                print(json.dumps(record, ensure_ascii=False))
        Console(stderr=True).print(team_tables(records))
        if found.note:
            say(found.note)
        say(f"answers in {self.output}")
        return int(any(record["failure"] for record in records))
