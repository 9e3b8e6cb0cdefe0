"""How fast the cached ALFWorld engine plays, against the stock engine on the same games with the same commands.

The patches hold for a whole process, so each side runs in a process of its own (`benchmarks.world_play`), and the
sides take turns. Both must print the same digest of all texts, or there is no result.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import record_of
from interlat.errors import BenchmarkError
from interlat.experiments.household.author import MINI_ROOMS, AuthorOptions, author_games

ROOMS = {"whole rooms": AuthorOptions(), "mini rooms": MINI_ROOMS}
METRICS = {
    "loads_per_second": ("loads/s", "load"),
    "resets_per_second": ("resets/s", "reset"),
    "steps_per_second": ("steps/s", "step"),
    "games_per_second": ("games/s", "game"),
}
"""Metric -> its unit and the phase it counts. A game is one load, one reset and ``Effort.steps`` commands."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    games: int
    """Different games, each loaded for the first time."""
    steps: int
    """Commands in each."""


EFFORT = {True: Effort(games=3, steps=15), False: Effort(games=12, steps=15)}


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one record a kind of room and metric; ``quick`` ends within 45 seconds on two cores.

    Raises:
        BenchmarkError: an engine failed, or the two did not print the same texts.
    """
    effort = EFFORT[quick]
    with tempfile.TemporaryDirectory() as folder:
        for case, options in ROOMS.items():
            # One game more than is timed: the first load pays for the imports and the parsing of the grammar.
            games = list(author_games(Path(folder) / case, effort.games + 1, "seen", 11, options))
            fast, stock = (_play(kind, effort.steps, games, folder) for kind in ("fast", "stock"))
            if fast["digest"] != stock["digest"]:
                raise BenchmarkError(f"{case}: the cached engine printed other texts than the stock one; report this")
            for metric, (unit, phase) in METRICS.items():
                yield record_of("world", case, metric, unit, 1.0, (fast[phase], stock[phase]))


def _play(kind: str, steps: int, games: list[Path], folder: str) -> dict[str, Any]:
    arguments = [kind, str(steps), *map(str, games)]
    return run_side("benchmarks.world_play", arguments, f"the {kind} engine", {"ALFWORLD_DATA": folder})
