import dataclasses
import random

import pytest
import torch

from interlat.agents.episodes import read_episodes
from interlat.align.adapter import CommunicationAdapter
from interlat.engine.transformers import Engine
from interlat.errors import InputError
from interlat.files import read_lines
from interlat.train.actor import ScoutMessages, TrainActor, believed_plan, train_actor
from interlat.train.loop import Schedule
from interlat.train.model import SmallModel


@pytest.fixture
def config(pipeline, tmp_path):
    return TrainActor(
        str(pipeline.episodes),
        str(tmp_path / "actor"),
        "latent",
        thoughts=str(pipeline.thoughts),
        tokenizer=str(pipeline.root / "tokenizer"),
        model=SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16),
        schedule=Schedule(steps=3, batch_size=4, checkpoint_every=1, validate_every=3),
        adapter_heads=2,
        validation_share=0.2,
    )


def test_a_killed_training_continues_to_the_same_adapter(config, tmp_path):
    list(train_actor(config))
    killed = dataclasses.replace(config, output=str(tmp_path / "killed"))
    for step, _ in train_actor(killed):
        if step == 2:
            break
    list(train_actor(killed))
    whole = CommunicationAdapter.load(tmp_path / "actor" / "model").state_dict()
    again = CommunicationAdapter.load(tmp_path / "killed" / "model").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_validation_is_deterministic(config, tmp_path):
    losses = []
    for name in ("one", "two"):
        list(train_actor(dataclasses.replace(config, output=str(tmp_path / name))))
        losses.append(read_lines(tmp_path / name / "metrics.jsonl")[-1]["validation_loss"])
    assert losses[0] == losses[1]


def test_the_adapter_knows_its_sender(pipeline):
    adapter = CommunicationAdapter.load(pipeline.actors["latent"])
    scout = Engine.load(str(pipeline.scout))
    assert adapter.config.sender_fingerprints == (scout.weights_fingerprint,)
    assert adapter.config.sender_tokenizer_fingerprint == scout.tokenizer_fingerprint


def test_messages_are_those_of_the_item(pipeline):
    messages = ScoutMessages(pipeline.thoughts)
    for item, record in messages.records.items():
        assert len(messages.states(item)) == record["length"]
        assert messages.text(item, random.Random(0)) in (record["plan"], record["sampled_plan"])


def test_believed_plans_follow_the_belief_and_not_the_truth(pipeline):
    """Over many draws the plan names the best place more often than its probability of being true."""
    best = drawn = 0
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            for seed in range(20):
                plan = believed_plan(record, episode, random.Random(seed))
                best += f" at {episode['beliefs'][0]['places'][0]}." in plan
                drawn += 1
    assert 0.6 < best / drawn < 0.95


def test_a_kind_that_needs_thoughts_says_so(config):
    with pytest.raises(InputError, match="thoughts"):
        dataclasses.replace(config, thoughts=None)
    with pytest.raises(InputError, match="tokenizer"):
        dataclasses.replace(config, tokenizer=None)
