"""Pairs of a won and a lost trajectory with the same message: what an actor's preferences are trained on."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from interlat.errors import InputError
from interlat.store.reading import LatentStore
from interlat.training.corpus import CorpusSource
from interlat.training.trajectories import Trajectory


@dataclass(frozen=True)
class Pair:
    """Two attempts with one thought: the same game, the same message, another end."""

    won: Trajectory
    lost: Trajectory

    @property
    def both(self) -> tuple[Trajectory, Trajectory]:
        """The won and the lost one."""
        return self.won, self.lost


@dataclass(frozen=True, eq=False)
class PreferenceData:
    """Pairs of some games to learn from and of others to validate on."""

    training: Sequence[Pair]
    """What is learned."""
    validation: Sequence[Pair]
    """Pairs of games that are never learned."""
    counts: str
    """How many trajectories and pairs there are, in words."""


def draw_pairs(trajectories: Sequence[Trajectory], per_thought: int, seed: int) -> list[Pair]:
    """Up to ``per_thought`` different pairs of each thought that was both won and lost with, by chance.

    Args:
        trajectories: the attempts with all thoughts.
        per_thought: most pairs of one thought.
        seed: of the choice; what is chosen for a thought does not depend on the other thoughts.

    Raises:
        InputError: no thought has both.
    """
    of_thought: dict[str, tuple[list[Trajectory], list[Trajectory]]] = {}
    for trajectory in sorted(trajectories, key=lambda one: one.key):
        of_thought.setdefault(trajectory.id, ([], []))[trajectory.won].append(trajectory)
    pairs = []
    for thought, (lost, won) in of_thought.items():
        possible = [Pair(one, other) for one in won for other in lost]
        rng = random.Random(f"pairs/{seed}/{thought}")
        pairs += rng.sample(possible, min(per_thought, len(possible)))
    if not pairs:
        raise InputError(
            f"none of {len(of_thought)} thoughts was both won and lost with ({len(trajectories)} trajectories, "
            f"{sum(one.won for one in trajectories)} won); collect more attempts, or at another temperature"
        )
    return pairs


def preference_data(
    trajectories: Sequence[Trajectory],
    store: LatentStore,
    source: CorpusSource,
    *,
    per_thought: int,
    validation_share: float,
    seed: int,
) -> PreferenceData:
    """Pairs of trajectories, each game either learned or held out.

    The games that a training of the actor on the same store held out first are held out here too, before any others.

    Args:
        trajectories: played with the thoughts of ``store``.
        store: the thoughts.
        source: the corpus that the thoughts are about.
        per_thought: most pairs of one thought.
        validation_share: share of the games with pairs that is held out, at least one game.
        seed: of the choice of pairs.

    Raises:
        InputError: the trajectories were played with other thoughts, there are no pairs, or all are of one game.
    """
    thoughts = store.manifest.fingerprint
    if any(one.store != thoughts for one in trajectories):
        raise InputError(
            f"the trajectories were played with other thoughts than those in {store.directory}; "
            "give the store that they were collected with"
        )
    pairs = draw_pairs(trajectories, per_thought, seed)
    with_pairs = {pair.won.item for pair in pairs}
    if len(with_pairs) < 2:
        raise InputError("all pairs are of one game, and one game is held out; collect trajectories of more games")
    games = [item for item in source.held_out_order(store) if item in with_pairs]
    held_out = set(games[: max(1, round(validation_share * len(games)))])
    training = [pair for pair in pairs if pair.won.item not in held_out]
    validation = [pair for pair in pairs if pair.won.item in held_out]
    if not training:
        raise InputError(f"a validation_share of {validation_share} leaves nothing to learn; lower it")
    counts = (
        f"{len(trajectories)} trajectories with {len({one.id for one in trajectories})} thoughts, "
        f"{sum(one.won for one in trajectories)} won; {len(pairs)} pairs with {len({one.won.id for one in pairs})} "
        f"thoughts: {len(training)} to learn from, {len(validation)} of {len(held_out)} held-out games"
    )
    return PreferenceData(training, validation, counts)
