"""Trajectories: what an actor did in a game with a stored thought as its message. One JSON line each."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interlat.agents.agent import Agent
from interlat.engine.fingerprint import weights_fingerprint
from interlat.errors import CheckpointError, InputError
from interlat.files import read_lines
from interlat.messages import check_receiver
from interlat.store.reading import LatentStore
from interlat.typed import typed

TRAJECTORIES_FILE = "trajectories.jsonl"
Read = str | Float[Tensor, "K D"] | None
"""What an actor reads: words, hidden states, or nothing."""


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
        check_receiver(store.header(), agent.adapter.config.expectations(), f"the store {store.directory}")


def stored_message(agent: Agent, store: LatentStore, thought: str) -> Read:
    """A stored thought as the message that an actor reads: its states ``[K, D]`` as stored, its words, or nothing.

    Args:
        agent: decides the kind; see `check_reader`.
        store: the thoughts.
        thought: id of one.
    """
    if agent.settings.message_kind == "hidden":
        return store.hidden_states(thought)
    return store.entry(thought).said if agent.settings.message_kind == "text" else None
