"""`interlat team`."""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from interlat.cli.main import run_items
from interlat.config import Given, read_fields
from interlat.evaluation.team_settings import ARRANGEMENTS, Arrangement, EvaluateTeams
from interlat.places import short_name
from interlat.progress import say

if TYPE_CHECKING:
    from interlat.engine.distributed import Ranks
    from interlat.results import Results


@dataclass(frozen=True)
class RunTeam(EvaluateTeams):
    """Ask one agent, teams that write, teams that take latent steps and their controls the same questions."""

    arrangement: Arrangement | None = None
    """Defaults of the bundled team, for fields that you do not set.
    conversation: planner, reviser and judger in one chat, with the question again in the last turn.
    They take 10 latent steps on the mean embeddings of expected tokens.
    published: planner, critic, refiner and judger with chained prompts (LatentMAS).
    None: published with a configuration file, else conversation.
    A run that is continued keeps its own, or published if it is older than this field."""
    threads: int = 2
    """Number of torch threads on a CPU."""
    json: bool = False
    """Print one JSON line per answer on stdout at the end."""
    ray: int = 0
    """Number of workers of a Ray cluster that share the items. The cluster is $RAY_ADDRESS, else this machine.
    Each worker loads its own models. 0 runs without Ray."""

    @classmethod
    def completed(cls, fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in what a file leaves out with the values of the arrangement that the file or a flag names.

        Files and runs from before there were arrangements mean the published one; else conversation is the default.
        """
        flag, output = given.get("arrangement"), given.get("output")
        name = flag.words[0] if isinstance(flag, Given) else fields.get("arrangement")
        if name is None and not fields and isinstance(output, Given):
            run = Path(output.words[0]).expanduser() / "config.yaml"
            name = (read_fields(run).get("arrangement") or "published") if run.is_file() else "conversation"
        name = name or "published"
        # Another word is refused where all fields are.
        return _over(ARRANGEMENTS.get(name, {}), {**fields, "arrangement": name})

    def run(self) -> "Results | None":
        """Ask; the answers. Under torchrun the first process reports for all, and the others return None."""
        from interlat.evaluation.teams import results_of

        return results_of(self) if run_items(self, "answers") else None

    def steps(self, ranks: "Ranks") -> Iterator[tuple[int, int]]:
        """Ask the share of a rank."""
        import torch

        from interlat.evaluation.teams import evaluate_teams

        torch.set_num_threads(self.threads)
        yield from evaluate_teams(self, ranks)

    def report(self, found: "Results | None") -> int:
        """The tables; 1 if an answer could not be given."""
        from interlat.report.teams import report_teams

        if found is None:
            return 0
        records = [record for record in found.records if record["variant"] in self.variants]
        if self.json:
            for record in records:
                print(json.dumps(record, ensure_ascii=False))
        questions = {task.id: task.text for task in self.task.load("solve").tasks}
        task = f"teams on {self.task.kind}: {short_name(self.model)}"
        table = report_teams(records, self.output, questions=questions, title=task, command=shlex.join(sys.argv))
        Console(stderr=True).print(table)
        if found.note:
            say(found.note)
        say(f"answers in {self.output}, page in {Path(self.output) / 'report.html'}")
        return int(any(record["failure"] for record in records))


def _over(below: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields over others, nested mappings field by field."""
    merged = {**below, **fields}
    both = [name for name in below if isinstance(below[name], Mapping) and isinstance(fields.get(name), Mapping)]
    return merged | {name: _over(below[name], fields[name]) for name in both}
