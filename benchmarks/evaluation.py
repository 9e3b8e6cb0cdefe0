"""Evaluating a pair against one episode at a time whose prompt is read again each turn, as plain evaluators play.

The bundled scout speaks to its actors in household games, not at all, in words and in hidden states; so do the adapters
of SmolLM2-135M, where that model has been fetched. Ours shares the games over two processes with one thread each, as
``torchrun --nproc-per-node 2 -m interlat.cli evaluate`` does; the plain side is one process with two threads
(`benchmarks.evaluation_play`). Models are loaded and games running before the clock starts. The plain side plays the
first games only; on these both must take the same actions, or there is no result.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import record_of
from interlat.errors import BenchmarkError
from interlat.experiments.household.commands.demo import REAL_MODEL, demo_games
from interlat.places import known_folder

VARIANTS = ("none", "text", "latent")
"""Without a message the episodes are the longest, as they are under every control."""
PROCESSES = 2
"""That our side plays in."""
SMALL, REAL = "household", f"household, {REAL_MODEL}"
"""What plays, as cases are named."""


@dataclass(frozen=True)
class Effort:
    """How much is played."""

    games: int
    plain_games: int
    """The first of them, which the plain side plays too."""


EFFORT = {
    # As many games as an evaluation has; 60 leave our batches half empty.
    SMALL: {True: Effort(games=200, plain_games=16), False: Effort(games=400, plain_games=32)},
    REAL: {True: Effort(games=24, plain_games=2), False: Effort(games=60, plain_games=6)},
}


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield episodes a minute under each variant; ``quick`` ends within a few minutes on two cores.

    Raises:
        BenchmarkError: a side failed, or the two did not play alike.
    """
    for case in (SMALL, REAL):
        if case == SMALL or known_folder(REAL_MODEL).is_dir():
            yield from _compared(case, EFFORT[case][quick])


def _compared(case: str, effort: Effort) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        games = Path(folder) / "games.jsonl"
        records = demo_games(folder, effort.games, "plain" if case == REAL else "short")
        games.write_text("".join(json.dumps(record) + "\n" for record in records))
        ours = _play("ours", case, games, len(records), folder)
        plain = _play("plain", case, games, effort.plain_games, folder)
    for variant in VARIANTS:
        mine, theirs = ours[variant], plain[variant]
        if any(mine["actions"][item] != actions for item, actions in theirs["actions"].items()):
            raise BenchmarkError(f"{case}, {variant}: the two sides took different actions; report this")
        seconds = (side["seconds"] / len(side["actions"]) for side in (mine, theirs))
        yield record_of("evaluation", f"{case}, {variant}", "episodes_per_minute", "episodes/min", 60.0, (*seconds,))


def _play(kind: str, case: str, games: Path, count: int, folder: str) -> dict[str, Any]:
    words = ["benchmarks.evaluation_play", kind, case, str(games), str(count), folder]
    if kind == "ours":
        launch = ["--standalone", "--nproc-per-node", str(PROCESSES), "-m"]
        return run_side("torch.distributed.run", [*launch, *words], "our side")
    return run_side(words[0], words[1:], "the plain side")
