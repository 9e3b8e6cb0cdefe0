"""`interlat demo`: a scout and an actor play held-out games under several kinds of message."""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from interlat.config import write_config
from interlat.errors import InputError
from interlat.experiments.household.author import author_games
from interlat.experiments.household.checkpoints import bundled
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.episodes import playable_episodes
from interlat.experiments.household.evaluate import (
    RESULTS_FILE,
    Checkpoints,
    EvaluateHousehold,
    evaluate_household,
    resolved,
    results_of,
    write_inspections,
)
from interlat.experiments.household.mini import MINI_ROOMS
from interlat.experiments.household.report import build_report
from interlat.experiments.household.variants import check_variants
from interlat.files import write_atomically
from interlat.progress import accepted, drain, say, track

DEMO_VARIANTS = ("none", "text", "latent", "compressed:8", "cross_task", "zeros", "gaussian")
_HELD_OUT_SEED = 7
"""Seed of the demo's games; the recipe trains and evaluates on games of other seeds."""
_SPLITS = ("seen", "unseen")


@dataclass(frozen=True)
class Demo:
    """Play held-out household games with the bundled models under several kinds of message."""

    games: int = 120
    """Games, half of them in scenes of the training split, half in unseen ones."""
    variants: tuple[str, ...] = DEMO_VARIANTS
    """none, text, text_sampled, list, latent, latent_unsent, latent_told, compressed:K, rollout:K, or any control."""
    output: str = "runs/demo"
    """The run directory."""
    seed: int = 0
    """Seed of controls and sampled plans."""
    workers: int = 2
    """Processes that run the games."""
    threads: int = 2
    """Threads of torch on a CPU."""
    json: bool = False
    """Print one JSON line an episode on stdout."""

    def __post_init__(self) -> None:
        if self.games < 2:
            raise InputError(f"games is {self.games}; the demo needs at least 2")
        check_variants(self.variants)


def demo_games(output: str, games: int) -> list[dict[str, Any]]:
    """Author the demo's games and draw their evidence; what is there is used again.

    The number of games authored is a little larger than asked for: some are no search problem.
    """
    records: list[dict[str, Any]] = []
    for split, count in zip(_SPLITS, (games - games // 2, games // 2), strict=True):
        folder = Path(output) / "games"
        wanted = count + count // 5 + 4
        episodes = folder / f"{split}-{wanted}.jsonl"
        root = folder / f"{split}-{wanted}"

        def authored(root: Path = root, split: str = split, wanted: int = wanted) -> Iterator[tuple[int, int]]:
            for number, _ in enumerate(author_games(root, wanted, split, _HELD_OUT_SEED, MINI_ROOMS), 1):
                yield number, wanted

        drain(track(authored(), f"{split} games"))
        config = CollectEpisodes(str(root), split, str(episodes), draws=1, play=False)
        drain(track(collect_episodes(config), f"{split} evidence"))
        records += playable_episodes([episodes], count)
    return records


def bundled_checkpoints() -> Checkpoints:
    """The models of the bundled experiment."""
    name = "alfworld-mini"
    kinds = ("scout", "none", "text", "latent", "list", "compressed")
    return Checkpoints(**{kind: bundled(f"{name}/{kind}") for kind in kinds})


def run_demo(config: Demo) -> None:
    """Play, print the table, write the report."""
    torch.set_num_threads(config.threads)
    console = Console(stderr=True)
    settings = EvaluateHousehold(
        checkpoints=bundled_checkpoints(),
        output=config.output,
        variants=config.variants,
        seed=config.seed,
        workers=config.workers,
    )
    records = demo_games(config.output, config.games)

    def write_settings() -> None:
        write_config(config, config.output)
        write_atomically(Path(config.output) / "settings.json", json.dumps(resolved(settings), indent=1))

    drain(track(accepted(evaluate_household(settings, records), write_settings), "episodes"))
    inspections = write_inspections(settings, records)
    results = Path(config.output) / RESULTS_FILE
    items = {record["item"] for record in records}
    found = results_of(settings)
    played = [line for line in found.records if line["item"] in items and line["variant"] in config.variants]
    report = build_report(
        played, config.output, inspections=json.loads(inspections.read_text()), command=shlex.join(sys.argv)
    )
    if config.json:
        for line in played:
            print(json.dumps(line, ensure_ascii=False))
    (console if config.json else Console()).print(report.table)
    if found.note:
        say(found.note)
    console.print(f"episodes: {results}\nreport:   {report.page}")
