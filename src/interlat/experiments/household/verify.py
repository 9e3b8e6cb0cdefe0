"""Whether games can be won: the expert plays them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from interlat.environments.alfworld.expert import Expert, optimal_steps
from interlat.environments.alfworld.pool import GamePool

_GAMES_AT_ONCE = 32
_STEPS = 60
"""The expert never needs as many; a game that takes more is not won."""


@dataclass(frozen=True)
class Verdict:
    """What the expert made of one game."""

    game: Path
    task_type: str
    won: bool
    steps: int
    optimal_steps: int
    """Steps that the expert needs by its own count."""


def verify_games(games: Sequence[str | Path], workers: int = 2) -> Iterator[Verdict]:
    """Play each game with an expert that knows where everything is; a verdict a game, in order.

    Raises:
        WorldError: a game file is not playable, or a worker died.
    """
    with GamePool(workers, games_kept=_GAMES_AT_ONCE) as pool:
        for start in range(0, len(games), _GAMES_AT_ONCE):
            yield from _verify_batch(pool, games[start : start + _GAMES_AT_ONCE])


def _verify_batch(pool: GamePool, games: Sequence[str | Path]) -> list[Verdict]:
    layouts = pool.layouts(games)
    experts = [Expert(layout) for layout in layouts]
    seen = pool.reset(games)
    running = [index for index, observation in enumerate(seen) if not observation.won]
    for _ in range(_STEPS):
        commands = [experts[index].next_command(seen[index]) for index in running]
        for index, observation in zip(running, pool.step([games[i] for i in running], commands), strict=True):
            seen[index] = observation
        running = [index for index in running if not seen[index].won]
        if not running:
            break
    return [
        Verdict(Path(game), layout.task_type, observation.won, observation.steps, optimal_steps(layout))
        for game, layout, observation in zip(games, layouts, seen, strict=True)
    ]
