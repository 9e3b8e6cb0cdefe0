"""A trajectory depends on its thought and attempt alone: not on batch size, order or a death in the middle."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from interlat.agents.loading import load
from interlat.engine.sampling import Sampling, row_seed
from interlat.environments.alfworld.pool import GamePool
from interlat.errors import InputError
from interlat.experiments.household.collect_trajectories import (
    CollectTrajectories,
    _batches,
    _records,
    collect_trajectories,
)
from interlat.files import read_lines
from interlat.store.reading import LatentStore
from interlat.training.trajectories import TRAJECTORIES_FILE, read_trajectories
from slow_game import slow_game


@pytest.fixture
def config(pipeline, tmp_path):
    return CollectTrajectories(
        str(pipeline.actors["latent"]),
        str(pipeline.thoughts),
        str(tmp_path / "trajectories"),
        attempts=3,
        limit=4,
        max_command_tokens=6,
        workers=1,
    )


def collect(config):
    list(collect_trajectories(config))
    return read_trajectories(config.output)


def by_key(trajectories):
    assert len({one.key for one in trajectories}) == len(trajectories)
    return {one.key: one for one in trajectories}


@pytest.mark.parametrize("kind", ["none", "text", "latent"])
def test_a_trajectory_is_the_game_played_alone(pipeline, config, kind):
    config = dataclasses.replace(config, actor=str(pipeline.actors[kind]), attempts=2, limit=2)
    played = collect(config)
    store, agent = LatentStore.open(config.thoughts), load(config.actor, dtype="float32")
    assert len(played) == 4
    with GamePool(1) as pool:
        for one in played:
            record = store.entry(one.id).metadata["record"]
            states, said = store.hidden_states(one.id), store.entry(one.id).said
            message = {"none": None, "text": said, "latent": states}[kind]
            seed = row_seed(0, one.id, f"attempt {one.attempt}")
            sampling = Sampling(temperature=1.0, max_new_tokens=6)
            turns, won, steps, _ = slow_game(agent, pool, record, message, sampling, seed)
            assert turns == one.turns and (won, steps) == (one.won, one.steps)
            assert (one.item, one.max_steps, one.seed) == (record["item"], record["max_steps"], seed)
            assert one.steps == len(one.turns) <= one.max_steps


def test_batch_size_and_an_interruption_change_nothing(config, tmp_path):
    whole = by_key(collect(config))
    assert len(whole) == 12 and Counter(key[1] for key in whole) == {0: 4, 1: 4, 2: 4}
    assert len({one.turns for one in whole.values()}) > 8, "samples of a thought differ"
    other = dataclasses.replace(config, output=str(tmp_path / "other"), batch_size=3)
    for done, total in collect_trajectories(other):
        assert total == 12
        if done >= 4:
            break
    assert 4 <= len(read_trajectories(other.output)) < 12
    assert next(iter(collect_trajectories(other)))[0] == len(read_trajectories(other.output))
    assert by_key(collect(other)) == whole


def test_more_attempts_and_thoughts_keep_what_is_there(config):
    few = by_key(collect(dataclasses.replace(config, attempts=1, limit=2)))
    lines = read_lines(f"{config.output}/{TRAJECTORIES_FILE}")
    more = by_key(collect(config))
    assert few.items() <= more.items() and len(more) == 12
    assert read_lines(f"{config.output}/{TRAJECTORIES_FILE}")[: len(lines)] == lines


def test_no_batch_plays_a_game_twice(config):
    """The fixture has two thoughts about each game, so attempts at one game stand in different batches."""
    records = _records(dataclasses.replace(config, limit=None), LatentStore.open(config.thoughts))
    attempts = [(thought, number) for thought in records for number in range(config.attempts)]
    batches = list(_batches(attempts, records, 3))
    assert sorted(one for batch in batches for one in batch) == sorted(attempts)
    for batch in batches:
        games = [records[thought]["game"] for thought, _ in batch]
        assert len(set(games)) == len(games) <= 3


@pytest.mark.parametrize(
    "field, value, named", [("temperature", 0.5, "settings"), ("seed", 1, "settings"), ("actor", "none", "actor")]
)
def test_another_actor_or_other_settings_do_not_go_on(pipeline, config, field, value, named):
    config = dataclasses.replace(config, attempts=1, limit=1)
    before = collect(config)
    value = str(pipeline.actors["none"]) if field == "actor" else value
    with pytest.raises(InputError, match=f"another {named}"):
        collect(dataclasses.replace(config, **{field: value}))
    assert read_trajectories(config.output) == before


def test_kill_9_loses_and_doubles_nothing(config, tmp_path):
    whole = by_key(collect(config))
    killed = dataclasses.replace(config, output=str(tmp_path / "killed"), batch_size=1)
    words = [
        "--actor", killed.actor, "--thoughts", killed.thoughts, "--output", killed.output, "--attempts", "3",
        "--limit", "4", "--max-command-tokens", "6", "--workers", "1", "--batch-size", "1", "--threads", "1",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "interlat.cli", "collect", "trajectories", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(read_lines(f"{killed.output}/{TRAJECTORIES_FILE}")) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = by_key(read_trajectories(killed.output))
    assert 3 <= len(kept) < 12
    assert by_key(collect(killed)) == whole
    lines = read_lines(f"{killed.output}/{TRAJECTORIES_FILE}")
    assert len(lines) == 12 and [(line["id"], line["attempt"]) for line in lines[: len(kept)]] == list(kept)


def test_what_cannot_be_played_is_said(config, monkeypatch):
    with pytest.raises(InputError, match="would be the same"):
        dataclasses.replace(config, temperature=0)
    with pytest.raises(InputError, match="attempts is 0"):
        dataclasses.replace(config, attempts=0)
    with pytest.raises(InputError, match="temperature"):
        collect(dataclasses.replace(config, temperature=-1.0))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="torchrun"):
        collect(config)


def test_games_for_evaluation_are_not_played(pipeline, config, tmp_path):
    """A store of thoughts about seen games: nothing may be learned from those."""
    from interlat.collect.thoughts import CollectThoughts, collect_thoughts
    from interlat.tasks.sources import TaskSource

    source = TaskSource("alfworld", str(pipeline.held_out))
    thoughts = CollectThoughts(
        str(pipeline.scout), source, str(tmp_path / "seen"), sampling=Sampling(max_new_tokens=4), limit=1
    )
    list(collect_thoughts(thoughts))
    with pytest.raises(InputError, match="for evaluation"):
        collect(dataclasses.replace(config, thoughts=thoughts.output))
