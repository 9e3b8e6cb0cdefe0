"""What an actor did in a game with a stored message, one JSON line each; and pairs of a won and a lost attempt."""

import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlat.agents.agent import Agent
from interlat.engine.fingerprint import weights_fingerprint
from interlat.errors import CheckpointError, InputError
from interlat.files import read_lines
from interlat.messages import Message, TextMessage
from interlat.store.reading import LatentStore
from interlat.training.corpus import CorpusSource
from interlat.typed import typed

TRAJECTORIES_FILE = "trajectories.jsonl"


@dataclass(frozen=True)
class Trajectory:
    """One attempt at one game."""

    id: str
    """The stored thought that was the message, or that would have been for an actor without messages."""
    attempt: int
    """Which attempt with this thought, from 0."""
    item: str
    """The game."""
    won: bool
    """Whether it ended with the task done."""
    steps: int
    """Commands given."""
    max_steps: int
    """Most commands that were allowed."""
    turns: tuple[tuple[str, str], ...]
    """(command, observation) pairs."""
    seed: int
    """Seed of the attempt's samples."""
    actor: str
    """Fingerprint of the actor, see `actor_fingerprint`."""
    store: str
    """Fingerprint of the store's manifest."""
    settings: Mapping[str, Any]
    """What else decides an attempt: sampling, number format, the run's seed."""

    @property
    def key(self) -> tuple[str, int]:
        """What a trajectory is known by in its file."""
        return self.id, self.attempt

    @property
    def record(self) -> dict[str, Any]:
        """The trajectory as a line of the file."""
        return dataclasses.asdict(self)


def read_trajectories(directory: str | Path) -> list[Trajectory]:
    """The trajectories in a folder, in the order in which they were played; an empty list where there are none.

    Raises:
        InputError: a line is no trajectory.
    """
    path = Path(directory) / TRAJECTORIES_FILE
    found: dict[tuple[str, int], Trajectory] = {}
    for line in read_lines(path):
        try:
            trajectory = typed(Trajectory, line)
        except ValueError as error:
            raise InputError(
                f"{path} has lines that are no trajectories ({error}); collect into a new folder"
            ) from error
        found.setdefault(trajectory.key, trajectory)
    return list(found.values())


def actor_fingerprint(agent: Agent) -> str:
    """SHA-256 over the fingerprints of model, tokenizer and adapter and the kind of message that the actor reads."""
    parts: list[Any] = [
        agent.engine.weights_fingerprint,
        agent.engine.tokenizer_fingerprint,
        "" if agent.adapter is None else weights_fingerprint(agent.adapter),
        agent.settings.message_kind,
    ]
    if agent.settings.template.record:
        parts.append(agent.settings.template.record)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_reader(agent: Agent, store: LatentStore) -> None:
    """Check that an actor can read the thoughts of a store as it was trained to.

    Raises:
        InputError: nothing is stored, the actor does not say what it reads, or it reads words and there are none.
        CheckpointError: it reads hidden states and has no adapter.
        MessageError: its adapter was trained on other states.
    """
    kind = agent.settings.message_kind
    if not len(store):
        raise InputError(f"{store.directory} holds no thoughts; collect some with `interlat collect`")
    if not kind:
        raise InputError(
            f"{agent.engine.name} does not say which messages it reads (message_kind in agent.json); "
            "give an actor that was trained with `interlat train actor`"
        )
    if kind == "text" and store.manifest.method == "compressed":
        raise InputError(f"{store.directory} holds latent steps without words, and the actor reads words")
    if kind == "hidden":
        if agent.adapter is None:
            raise CheckpointError(f"{agent.engine.name} reads hidden states but has no adapter; train the actor again")
        agent.adapter.config.check(store.header(), f"the store {store.directory}")


def stored_message(agent: Agent, store: LatentStore, thought: str) -> Message | None:
    """A stored thought as the message that an actor was trained to read, see `check_reader`; None is no message."""
    if agent.settings.message_kind == "hidden":
        return store.message(thought)
    said = store.entry(thought).said if agent.settings.message_kind == "text" else ""
    return TextMessage(said) if said.strip() else None


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
    """Up to ``per_thought`` different pairs of each thought that was both won and lost with, at random.

    What is chosen for a thought does not depend on the other thoughts.

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
    """Pairs of trajectories with the thoughts of a store, see `draw_pairs`, each game either learned or held out.

    The games that a training of the actor on the same store held out first are held out here too, before any others;
    a ``validation_share`` of the games with pairs, at least one game.

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
