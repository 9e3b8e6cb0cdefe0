"""A trained actor plays training games with stored thoughts as messages, each several times, sampled.

Every trajectory is on disk as soon as its batch is over, so the stage can be killed and continued. A trajectory does
not depend on the others, the batch size or the order: each attempt has a seed of its own.
"""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from interlat.agents.agent import Agent
from interlat.agents.loading import load
from interlat.engine.distributed import Ranks
from interlat.engine.sampling import row_seed
from interlat.environments.protocol import EnvironmentOptions
from interlat.errors import InputError
from interlat.evaluation.episodes import play
from interlat.experiments.household.environment import HouseholdEnvironment
from interlat.experiments.household.settings import CollectTrajectories as CollectTrajectories
from interlat.files import append_line, locked
from interlat.store.reading import LatentStore
from interlat.training.trajectories import (
    TRAJECTORIES_FILE,
    Trajectory,
    actor_fingerprint,
    check_reader,
    read_trajectories,
    stored_message,
)

Attempt = tuple[str, int]
"""A thought and the number of the try with it, as the key of its trajectory."""


def collect_trajectories(config: CollectTrajectories) -> Iterator[tuple[int, int]]:
    """Run or continue the stage; yields (attempts played, attempts in all) as it goes.

    Raises:
        InputError: settings or thoughts that make no sense, several processes, or the folder holds trajectories of
            another actor, store or sampling.
        CheckpointError, MessageError: the actor cannot read these thoughts.
        WorldError: a game is gone, or a worker died.
        StorageError: another process writes to the folder, or the file system refused.
    """
    if Ranks.from_environment().world_size > 1:
        raise InputError("trajectories are collected by one process; start it without torchrun")
    with locked(config.output):
        yield from _collect(config)


def _collect(config: CollectTrajectories) -> Iterator[tuple[int, int]]:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    store = LatentStore.open(config.thoughts)
    agent = load(config.actor, dtype=config.dtype, device=config.device)
    check_reader(agent, store)
    stamp = _stamp(config, agent, store)
    played = read_trajectories(config.output)
    _check_same_run(config.output, played, stamp)
    done = {trajectory.key for trajectory in played}
    records = _records(config, store)
    attempts = [(thought, number) for thought in records for number in range(config.attempts)]
    missing = [attempt for attempt in attempts if attempt not in done]
    count = len(attempts) - len(missing)
    yield count, len(attempts)
    if not missing:
        return
    path = Path(config.output) / TRAJECTORIES_FILE
    environment = HouseholdEnvironment(
        EnvironmentOptions(workers=config.workers), list(records.values()), config.batch_size
    )
    items = {item.id: item for item in environment.items()}
    try:
        for batch in _batches(missing, records, config.batch_size):
            seeds = [row_seed(config.seed, thought, f"attempt {number}") for thought, number in batch]
            games = [items[records[thought]["item"]] for thought, _ in batch]
            messages = [stored_message(agent, store, thought) for thought, _ in batch]
            episodes = play(environment, games, agent, messages, config.sampling, seeds)
            for (thought, number), game, episode, seed in zip(batch, games, episodes, seeds, strict=True):
                trajectory = Trajectory(
                    id=thought,
                    attempt=number,
                    item=game.id,
                    won=episode.success,
                    steps=episode.steps,
                    max_steps=game.max_steps,
                    turns=tuple(episode.turns),
                    seed=seed,
                    **stamp,
                )
                append_line(path, trajectory.record)
            count += len(batch)
            yield count, len(attempts)
    finally:
        environment.close()


def _stamp(config: CollectTrajectories, agent: Agent, store: LatentStore) -> dict[str, Any]:
    """What all trajectories of a run have in common."""
    settings = {
        **dataclasses.asdict(config.sampling),
        "dtype": agent.number_format,
        "seed": config.seed,
    }
    return {"actor": actor_fingerprint(agent), "store": store.manifest.fingerprint, "settings": settings}


def _check_same_run(directory: str, played: Sequence[Trajectory], stamp: dict[str, Any]) -> None:
    different = sorted({name for one in played for name, value in stamp.items() if getattr(one, name) != value})
    if different:
        raise InputError(
            f"{directory} holds trajectories with another {', '.join(different)}; "
            "give what they were played with, or collect into a new folder"
        )


def _records(config: CollectTrajectories, store: LatentStore) -> dict[str, dict[str, Any]]:
    """The thoughts that are played with, each with its game and the episode that it is about."""
    chosen = sorted(store.ids)
    # Shuffled and cut, so that a larger limit keeps what a smaller one chose.
    random.Random("some of the thoughts").shuffle(chosen)
    records = {}
    for thought in chosen[: config.limit]:
        metadata = store.entry(thought).metadata
        record = metadata.get("record")
        if record is None:
            raise InputError(
                f"{store.directory} holds no thoughts about authored games; collect it with source.kind alfworld"
            )
        if record["split"] != "train":
            raise InputError(
                f"{store.directory} is about games of the split {record['split']!r}, which are for evaluation; "
                "give thoughts about training games"
            )
        records[thought] = {**record, "episodes": [metadata["episode"]]}
    return records


def _batches(attempts: Sequence[Attempt], records: Mapping[str, dict[str, Any]], size: int) -> Iterator[list[Attempt]]:
    """Batches in which a game stands once at most; the same games come again until they are done with, for a loaded
    game costs little."""
    of_game: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        of_game.setdefault(records[attempt[0]]["game"], []).append(attempt)
    games = list(of_game.values())
    for start in range(0, len(games), size):
        together = games[start : start + size]
        for turn in range(max(map(len, together))):
            yield [game[turn] for game in together if turn < len(game)]
