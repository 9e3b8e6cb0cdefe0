import dataclasses

import pytest
import torch

from interlat.agents.agent import Agent
from interlat.agents.loading import load
from interlat.agents.settings import AgentSettings
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.files import append_line
from interlat.store.reading import LatentStore
from interlat.training.trajectories import (
    TRAJECTORIES_FILE,
    Trajectory,
    actor_fingerprint,
    check_reader,
    read_trajectories,
    stored_message,
)


@pytest.fixture(scope="module")
def store(pipeline):
    return LatentStore.open(pipeline.thoughts)


@pytest.fixture(scope="module")
def agents(pipeline):
    return {kind: load(folder, dtype="float32") for kind, folder in pipeline.actors.items()}


TRAJECTORY = Trajectory(
    id="house/1#0",
    attempt=2,
    item="house/1",
    won=True,
    steps=1,
    max_steps=5,
    turns=(("go to shelf 1", "You arrive at shelf 1.\nOn it, you see nothing."),),
    seed=2**62 + 1,
    actor="a",
    store="s",
    settings={"temperature": 0.7},
)


def test_a_trajectory_comes_back_as_it_was_and_counts_once(tmp_path):
    assert read_trajectories(tmp_path) == []
    other = dataclasses.replace(TRAJECTORY, attempt=3, won=False)
    for one in (TRAJECTORY, other, TRAJECTORY):
        append_line(tmp_path / TRAJECTORIES_FILE, one.record)
    assert read_trajectories(tmp_path) == [TRAJECTORY, other]


def test_a_torn_line_is_no_trajectory_and_a_foreign_one_is_refused(tmp_path):
    path = tmp_path / TRAJECTORIES_FILE
    append_line(path, TRAJECTORY.record)
    path.write_text(path.read_text() + '{"id": "house/1#0", "att')
    assert read_trajectories(tmp_path) == [TRAJECTORY]
    whole = path.read_text()
    for changes in ({"turns": 3}, {"turns": [["go"]]}, {"turns": ["ab"]}, {"won": "no"}, {"attempt": [2]}):
        path.write_text(whole)
        append_line(path, {**TRAJECTORY.record, "attempt": 9, **changes})
        with pytest.raises(InputError, match=f"{next(iter(changes))}.*new folder"):
            read_trajectories(tmp_path)
    path.write_text(whole)
    append_line(path, {"item": "house/1"})
    with pytest.raises(InputError, match="new folder"):
        read_trajectories(tmp_path)


def test_an_actor_is_known_by_all_that_it_is_made_of(agents):
    latent = agents["latent"]
    found = {kind: actor_fingerprint(agent) for kind, agent in agents.items()}
    assert len(set(found.values())) == 3
    assert actor_fingerprint(Agent(latent.engine, latent.adapter, latent.settings)) == found["latent"]
    without = dataclasses.replace(latent, adapter=None)
    reads_words = dataclasses.replace(latent, settings=AgentSettings(message_kind="text"))
    assert len({found["latent"], actor_fingerprint(without), actor_fingerprint(reads_words)}) == 3


def test_each_kind_of_actor_reads_its_own_kind(agents, store):
    thought = store.ids[3]
    assert stored_message(agents["none"], store, thought) is None
    assert stored_message(agents["text"], store, thought) == store.entry(thought).plan
    rows = stored_message(agents["latent"], store, thought)
    assert torch.equal(rows, store.hidden_states(thought)) and str(rows.dtype).endswith(store.manifest.dtype)


def test_an_actor_reads_no_thoughts(agents, store, monkeypatch):
    entry = dataclasses.replace(store.entry(0), plan="<think>the shelf?</think>\nfind apple")
    monkeypatch.setattr(LatentStore, "entry", lambda store, thought: entry)
    assert stored_message(agents["text"], store, entry.id) == "find apple"


def test_what_cannot_be_read_is_refused(agents, store):
    for agent in agents.values():
        check_reader(agent, store)
    latent = agents["latent"]
    with pytest.raises(CheckpointError, match="no adapter"):
        check_reader(dataclasses.replace(latent, adapter=None), store)
    with pytest.raises(InputError, match="message_kind"):
        check_reader(dataclasses.replace(latent, settings=AgentSettings()), store)
    with pytest.raises(InputError, match="no thoughts"):
        check_reader(latent, store.select([]))
    foreign = store.select(range(len(store)))
    foreign.manifest = dataclasses.replace(store.manifest, weights_fingerprint="another")
    with pytest.raises(MessageError, match="does not fit"):
        check_reader(latent, foreign)
    foreign.manifest = dataclasses.replace(store.manifest, method="compressed")
    with pytest.raises(InputError, match="without words"):
        check_reader(agents["text"], foreign)
