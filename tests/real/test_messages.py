"""Messages of all three kinds on a real model: saved, loaded and answered as before; wrong pairs are refused."""

import copy
import dataclasses

import pytest
import torch

from interlat.agents.agent import Agent
from interlat.agents.settings import AgentSettings
from interlat.channels.protocol import SendOptions, channel_named
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.cache_message import cache_of_message
from interlat.engine.hf import HFEngine
from interlat.errors import CheckpointError, MessageError
from interlat.messages import CacheMessage, HiddenMessage, TextMessage, load_message
from interlat.training.model import add_message_tokens

TASK = "Sort the books on a shelf by their authors."
ASKED = "What do you do first?"
LIMIT = 12
PLAN = 16


@pytest.fixture(scope="module")
def reader(scout):
    """The model with `<bop>`, `<eop>` and an untrained adapter that reads the scout: what a training begins with."""
    model, tokenizer = copy.deepcopy(scout.engine.model), copy.deepcopy(scout.engine.tokenizer)
    add_message_tokens(model, tokenizer)
    torch.manual_seed(0)
    config = AdapterConfig(
        source_size=scout.engine.hidden_size,
        target_size=scout.engine.hidden_size,
        heads=4,
        sender=scout.engine.name,
        sender_fingerprints=(scout.engine.weights_fingerprint,),
        sender_tokenizer_fingerprint=scout.engine.tokenizer_fingerprint,
    )
    adapter = CommunicationAdapter(config)
    adapter.calibrate(scout.identity.target_norm / scout.engine.hidden_size**0.5, torch.randn(2, 5, config.source_size))
    engine = HFEngine.wrap(model, tokenizer, "reader")
    return Agent(engine, adapter, AgentSettings(role="reader", message_kind="hidden"))


@pytest.fixture(scope="module")
def plan(scout):
    return scout.write(TASK, max_new_tokens=PLAN)


@pytest.fixture(scope="module")
def cache(scout):
    sampling = dataclasses.replace(scout.settings.sampling, max_new_tokens=PLAN)
    return channel_named("cache").make(scout, [TASK], [TASK], SendOptions(sampling))[0].message


def test_a_text_is_saved_and_answered_as_before(scout, plan, tmp_path):
    message = TextMessage(plan.text)
    before = scout.reply(ASKED, message, max_new_tokens=LIMIT)
    message.save(tmp_path / "message.safetensors")
    loaded = load_message(tmp_path / "message.safetensors")
    assert isinstance(loaded, TextMessage) and loaded.text == plan.text
    assert scout.reply(ASKED, loaded, max_new_tokens=LIMIT) == before
    assert before != scout.reply(ASKED, max_new_tokens=LIMIT)


def test_hidden_states_are_saved_and_answered_as_before(reader, plan, tmp_path):
    before = reader.reply(ASKED, plan, max_new_tokens=LIMIT)
    plan.save(tmp_path / "message.safetensors")
    loaded = load_message(tmp_path / "message.safetensors")
    assert isinstance(loaded, HiddenMessage) and torch.equal(loaded.hidden_states, plan.hidden_states)
    assert (loaded.text, loaded.token_ids) == (plan.text, plan.token_ids)
    assert dataclasses.replace(loaded.header, sha256="") == plan.header
    read = reader.read_many([loaded, plan])
    assert read[0] is not None and read[1] is not None and torch.equal(read[0], read[1])
    assert reader.reply(ASKED, loaded, max_new_tokens=LIMIT) == before


def test_a_cache_is_saved_and_answered_as_before(scout, cache, tmp_path):
    before = scout.reply(ASKED, cache, max_new_tokens=LIMIT)
    cache.save(tmp_path / "message.safetensors")
    loaded = load_message(tmp_path / "message.safetensors")
    assert isinstance(loaded, CacheMessage) and loaded.header.shape == cache.header.shape
    assert all(map(torch.equal, (*loaded.keys, *loaded.values), (*cache.keys, *cache.values)))
    assert scout.reply(ASKED, loaded, max_new_tokens=LIMIT) == before


def test_what_a_message_weighs(plan, cache, scout):
    """30 layers, 3 heads of 64: 23,040 bytes a position in float32 against 2,304 for a latent."""
    assert (plan.latents, plan.byte_size) == (PLAN, PLAN * 576 * 4)
    assert cache.latents == int(cache.next_position[0])
    assert cache.byte_size >= cache.latents * 30 * 2 * 3 * 64 * 4


def test_a_wrong_pair_is_refused(scout, reader, plan, cache):
    with pytest.raises(CheckpointError, match="without an adapter"):
        scout.reply(ASKED, plan)
    with pytest.raises(MessageError, match="weights"):
        reader.reply(ASKED, reader.write(TASK, max_new_tokens=2))
    with pytest.raises(MessageError, match="norm"):
        reader.reply(ASKED, dataclasses.replace(plan, header=dataclasses.replace(plan.header, norm="pre")))
    with pytest.raises(MessageError, match="tokenizer"):
        reader.reply(ASKED, cache)
    with pytest.raises(MessageError, match="tokenizer"):
        cache_of_message(reader.engine, cache)


def test_fingerprints_have_not_changed(scout):
    """Rounded to bfloat16, so they are the same on every machine."""
    assert scout.engine.weights_fingerprint == "f2a156343b2c1b8f219452e68b6ce267cebedfadb7581edc3c565f55e4229b4d"
    assert scout.engine.tokenizer_fingerprint == "1ca08c2623a3b35e2325a1a654b197599ed29be7e1a347f7bbbb30b53db5cc01"
