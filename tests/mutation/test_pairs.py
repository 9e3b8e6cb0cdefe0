"""Models that do not belong together are refused before a game is played; `Agent.reply` refuses the same pairs."""

import dataclasses

import pytest

import interlat
from interlat.channels.resampled import ResampledChannel
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.errors import InputError, MessageError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold, evaluate_household


@pytest.fixture
def checkpoints(pipeline):
    return Checkpoints(str(pipeline.scout), *(str(pipeline.actors[kind]) for kind in ("none", "text", "latent")))


def play(pipeline, checkpoints, output, *variants):
    config = EvaluateHousehold(checkpoints, str(output), variants=variants, max_plan_tokens=8, batch_size=3)
    return list(evaluate_household(config, read_episodes(pipeline.held_out)))


@pytest.mark.parametrize("variant", ["latent", "zeros", "cross_task", "rollout:2"])
def test_a_sender_of_other_states_is_refused(pipeline, short, checkpoints, tmp_path, variant):
    wrong = dataclasses.replace(checkpoints, scout=str(pipeline.actors["text"]), resampler=short["resampler"])
    with pytest.raises(MessageError, match=r"from .*text.*weights"):
        play(pipeline, wrong, tmp_path / "out", variant)
    assert not (tmp_path / "out").exists()


def test_what_carries_no_states_may_come_from_any_sender(pipeline, checkpoints, tmp_path):
    wrong = dataclasses.replace(checkpoints, scout=str(pipeline.actors["text"]))
    assert play(pipeline, wrong, tmp_path, "text", "latent_told", "latent_unsent", "none")


@pytest.mark.parametrize("role", ["none", "text", "latent"])
def test_an_actor_of_another_kind_of_message_is_refused(pipeline, checkpoints, tmp_path, role):
    other = {"none": "text", "text": "none", "latent": "text"}[role]
    wrong = dataclasses.replace(checkpoints, **{role: str(pipeline.actors[other])})
    with pytest.raises(InputError, match=rf"checkpoints\.{role} .*'{other}'"):
        play(pipeline, wrong, tmp_path / "out", role)
    assert not (tmp_path / "out").exists()


def test_a_compressed_sender_and_a_resampler_are_those_of_the_receiver(pipeline, short, checkpoints, tmp_path):
    right = dataclasses.replace(checkpoints, **short)
    assert play(pipeline, right, tmp_path, "compressed:3", "resampled:2")
    scout = interlat.load(pipeline.scout, dtype="float32")
    foreign = Resampler(ResamplerConfig(16, sender_fingerprint="0" * 64))
    with pytest.raises(InputError, match=r"resampler .*0000"):
        ResampledChannel(2, foreign).header(scout)
