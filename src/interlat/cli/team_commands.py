"""`interlat team`: one agent, teams and controls on the same questions; and what small models learn to play in them."""

import json
from dataclasses import dataclass

import torch
from rich.console import Console

from interlat.config import write_config
from interlat.engine.distributed import Ranks
from interlat.evaluation.teams import EvaluateTeams, evaluate_teams, read_answers
from interlat.experiments.lessons import CollectLessons, collect_lessons
from interlat.progress import accepted, drain, say, track
from interlat.report.teams import team_tables


@dataclass(frozen=True)
class RunTeam(EvaluateTeams):
    """Ask one agent, teams that write, teams that think and their controls the same questions."""

    threads: int = 2
    """Threads of torch on a CPU."""
    json: bool = False
    """Print one JSON line an answer on stdout at the end."""


def run_collect_lessons(config: CollectLessons) -> None:
    """Write conversations of teams that solve word problems."""
    drain(track(collect_lessons(config), "problems"))
    say(f"{3 * config.count} conversations in {config.output}")


def run_team(config: RunTeam) -> int:
    """Ask, and show what came out; 1 if an answer could not be given."""
    torch.set_num_threads(config.threads)
    with Ranks.from_environment().together() as ranks:
        steps = evaluate_teams(config, ranks)
        if ranks.is_first:
            steps = accepted(steps, lambda: write_config(config, config.output))
        drain(track(steps, "answers"))
    if not ranks.is_first:
        return 0
    found = read_answers(config)
    records = [record for record in found.records if record["variant"] in config.variants]
    if config.json:
        for record in records:
            print(json.dumps(record, ensure_ascii=False))
    Console(stderr=True).print(team_tables(records))
    if found.note:
        say(found.note)
    say(f"answers in {config.output}")
    return int(any(record["failure"] for record in records))
