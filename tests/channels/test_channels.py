"""Every channel against the agent's own methods, on one item at a time."""

import dataclasses

import pytest
import torch

from interlat.channels.cache import CacheChannel
from interlat.channels.hidden import HiddenChannel
from interlat.channels.none import NoChannel
from interlat.channels.protocol import CHANNELS, SendOptions, channel_named
from interlat.channels.resampled import ResampledChannel
from interlat.channels.text import TextChannel
from interlat.channels.thought import ThoughtChannel
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.engine.cache_message import cache_of_message
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.messages import CacheMessage, HiddenMessage, TextMessage

TASKS = ["put the kettle on the stove", "find a mug"]
OPTIONS = SendOptions(Sampling(max_new_tokens=6), seed=5)


def sent(channel, sender, options=OPTIONS):
    made = channel.make(sender, TASKS, ["a", "b"], options)
    return made, [channel.message(one, options) for one in made]


def test_nothing_travels_and_nobody_works(agents):
    made, messages = sent(NoChannel(), agents["sender"])
    assert messages == [None, None] and made[0].tokens == made[0].forward_passes == 0
    assert NoChannel().header(agents["sender"]) is None


def test_text_and_states_are_those_of_one_plan(agents):
    sender = agents["sender"]
    plans = [sender.write(task, max_new_tokens=6) for task in TASKS]
    made, texts = sent(TextChannel(), sender)
    _, states = sent(HiddenChannel(), sender)
    assert TextChannel().source == HiddenChannel().source != TextChannel("sampled").source
    for plan, one, text, message in zip(plans, made, texts, states, strict=True):
        assert isinstance(text, TextMessage) and text.text == plan.text == one.text
        assert isinstance(message, HiddenMessage) and message.hidden_states.dtype == torch.bfloat16
        torch.testing.assert_close(message.hidden_states.float(), plan.hidden_states, atol=0.02, rtol=0.02)
        assert one.tokens == plan.header.positions[-1] + 2 and one.forward_passes == 7
        assert set(one.seconds) == {"sender_prefill", "thinking"}
    exact = dataclasses.replace(OPTIONS, dtype=None)
    assert sent(HiddenChannel(), sender, exact)[1][0].hidden_states.dtype == torch.float32


def test_samples_depend_on_key_and_seed_alone(agents):
    channel = TextChannel("sampled")
    first, again = (sent(channel, agents["sender"])[1] for _ in range(2))
    assert [m.text for m in first] == [m.text for m in again]
    alone = channel.make(agents["sender"], TASKS[1:], ["b"], OPTIONS)
    assert channel.message(alone[0], OPTIONS).text == first[1].text
    other = sent(channel, agents["sender"], dataclasses.replace(OPTIONS, seed=6))[1]
    assert [m.text for m in first] != [m.text for m in other]


def test_thoughts_are_the_agents_own(agents):
    sender = agents["sender"]
    made, messages = sent(ThoughtChannel("3"), sender)
    for task, one, message in zip(TASKS, made, messages, strict=True):
        torch.testing.assert_close(
            message.hidden_states.float(), sender.think(task, 3).hidden_states, atol=0.02, rtol=0.02
        )
        assert (one.latent_steps, one.forward_passes, one.text) == (3, 4, "")
    assert ThoughtChannel().name == "thought:8" and ThoughtChannel("3", trained=False).source == "untrained:3"


@pytest.mark.parametrize("argument", ["", "3"])
def test_a_cache_is_what_the_sender_read_and_did(agents, argument):
    engine, sender = agents["sender"].engine, agents["sender"]
    made, messages = sent(CacheChannel(argument), sender)
    for task, one, message in zip(TASKS, made, messages, strict=True):
        assert isinstance(message, CacheMessage)
        memory = engine.prefill([sender.task_prompt(task)])
        if argument:
            memory, _ = engine.think(memory, 3, sender.identity)
        else:
            memory = engine.decode(memory, OPTIONS.sampling).cache
        found = cache_of_message(engine, message)
        assert int(found.next_position[0]) == int(memory.next_position[0]) == one.tokens
        torch.testing.assert_close(found.keys[1], memory.keys[1], atol=1e-5, rtol=1e-4)


def test_a_resampler_reads_the_states_that_travel(agents):
    sender = agents["sender"]
    torch.manual_seed(0)
    resampler = Resampler(ResamplerConfig(32, sender_fingerprint=sender.engine.weights_fingerprint))
    channel = ResampledChannel(2, resampler)
    _, full = sent(HiddenChannel(), sender)
    _, short = sent(channel, sender)
    for one, other in zip(full, short, strict=True):
        states = one.hidden_states.float()
        expected = resampler(states[None], torch.ones(1, len(states), dtype=torch.bool), 2)[0].bfloat16()
        torch.testing.assert_close(other.hidden_states.float(), expected.float(), atol=0.02, rtol=0.02)
    assert channel.header(sender).kind == "hidden"
    with pytest.raises(InputError, match="trained on the states"):
        channel.header(agents["words"])


@pytest.mark.parametrize("name", ["none", "text", "text:sampled", "hidden", "thought:3", "cache", "cache:2"])
def test_the_header_that_is_announced_is_the_one_that_comes(agents, name):
    channel = channel_named(name)
    assert channel.name == name
    announced = channel.header(agents["sender"])
    [_, message] = sent(channel, agents["sender"])[1]
    if announced is None:
        assert message is None and channel.kind == "none"
        return
    assert message.kind == announced.kind == channel.kind
    for field in ("weights_fingerprint", "tokenizer_fingerprint", "space_fingerprint", "layer", "norm", "state_at"):
        assert getattr(message.header, field) == getattr(announced, field), field
    assert dict(message.header.rules) == dict(announced.rules)


@pytest.mark.parametrize("name", ["telepathy", "none:1", "text:loud", "hidden:4", "thought:0", "thought:x", "cache:-1"])
def test_what_makes_no_channel_is_refused(name):
    with pytest.raises(InputError, match=name.partition(":")[0]):
        channel_named(name)


def test_a_channel_from_outside_is_found(monkeypatch):
    monkeypatch.setattr(CHANNELS, "_places", dict(CHANNELS._places))
    CHANNELS.add("whisper", lambda argument: TextChannel())
    assert channel_named("whisper:x").kind == "text"
