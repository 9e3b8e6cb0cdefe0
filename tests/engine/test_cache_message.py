from dataclasses import replace

import pytest
import torch

from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.cache_message import cache_of_message, message_of_cache, rounded
from interlat.engine.hf import Engine
from interlat.errors import InputError, MessageError
from interlat.messages import Header, load_message
from model_fixtures import make_model
from sweep.tiny_models import tiny_model


@pytest.fixture(scope="module")
def thought(qwen):
    align = NormMatchedIdentity.of_embeddings(qwen.model.get_input_embeddings().weight)
    memory = qwen.prefill(["the kettle is in the drawer", "put"], segment="planner")
    memory, _ = qwen.think(memory, 3, align)
    # A trimmed memory: its next position is not its length.
    return memory.trim(memory.segment("latents") | (memory.position_ids % 2 == 0))


def test_who_reads_a_saved_memory_reads_on_as_if_it_were_the_own(qwen, thought, tmp_path):
    message_of_cache(qwen, thought, {"task": "kettle"}).save(tmp_path / "memory.safetensors")
    message = load_message(tmp_path / "memory.safetensors")
    assert message.header.provenance == {"task": "kettle"}
    memory = cache_of_message(qwen, message)
    assert memory.segment_names == thought.segment_names
    expected, found = (qwen.prefill(["and then?", "go on"], one) for one in (thought, memory))
    assert torch.equal(found.hidden_states, expected.hidden_states)
    assert torch.equal(found.position_ids, expected.position_ids)


def test_other_weights_are_refused_unless_they_are_wanted(qwen, thought, make_tokenizer):
    message = message_of_cache(qwen, thought)
    other = Engine.wrap(make_model("qwen2", tied=False), make_tokenizer("chatml"), name="another")
    with pytest.raises(MessageError, match=r"another model \(qwen2\) than another: weights \w{12} against \w{12}"):
        cache_of_message(other, message)
    assert len(cache_of_message(other, message, allow_foreign_cache=True)) == 2


def test_a_foreign_cache_is_named_in_all_that_is_made_of_it(qwen, thought, make_tokenizer, tmp_path):
    rope = {"rope_type": "default", "rope_theta": 1e6}
    other = Engine.wrap(make_model("qwen2", rope_parameters=rope), make_tokenizer("chatml"), name="other")
    message = message_of_cache(qwen, thought)
    with pytest.raises(MessageError, match=r"than other: rope_parameters.rope_theta 1000000.0 against 10000.0; load"):
        cache_of_message(other, message)
    memory = cache_of_message(other, message, allow_foreign_cache=True)
    label = f"qwen2 [{qwen.weights_fingerprint[:12]}]"
    assert memory.foreign == (label,) and memory.origin is other.origin
    grown = other.prefill(["go", "on"], memory)
    message_of_cache(other, grown, {"task": "kettle"}).save(tmp_path / "grown.safetensors")
    sent = load_message(tmp_path / "grown.safetensors")
    assert sent.header.provenance == {"task": "kettle", "foreign_cache": [label]}
    assert cache_of_message(other, sent).foreign == (label,)
    back = qwen.prefill(["a"], thought.select([0]).released())
    assert "foreign_cache" not in message_of_cache(qwen, back).header.provenance
    with pytest.raises(InputError, match=r"the cache of other does not fit qwen2: rope_parameters"):
        message_of_cache(qwen, grown)


def test_a_message_from_before_rules_were_sent_is_known_by_its_weights_and_tokenizer(qwen, thought, make_tokenizer):
    message = message_of_cache(qwen, thought)
    old = replace(message, header=replace(message.header, rules={}))
    assert cache_of_message(qwen, old).foreign == ()
    other = Engine.wrap(make_model("qwen2"), make_tokenizer("llama3"))
    with pytest.raises(MessageError, match="another tokenizer or chat template"):
        cache_of_message(other, old)
    unknown = replace(message, header=Header())
    with pytest.raises(MessageError, match=r"an unnamed model\) than qwen2: weights \w{12} against unknown"):
        cache_of_message(qwen, unknown)


@pytest.mark.parametrize("model_type", ["deepseek_v3", "falcon", "gpt_bigcode", "mimo_v2_flash"])
@pytest.mark.parametrize("int8", [False, True])
def test_caches_whose_keys_and_values_differ_in_shape_travel(model_type, int8, make_tokenizer, tmp_path):
    engine = Engine.wrap(tiny_model(model_type), make_tokenizer("chatml"), name=model_type)
    memory = engine.prefill(["the kettle is in the drawer", "put"])
    message_of_cache(engine, memory, int8=int8).save(tmp_path / "memory.safetensors")
    found = cache_of_message(engine, load_message(tmp_path / "memory.safetensors"))
    expected = rounded(memory) if int8 else memory
    for mine, theirs in zip((*found.keys, *found.values), (*expected.keys, *expected.values), strict=True):
        assert torch.equal(mine, theirs)
    states = [engine.prefill(["and then?", "go on"], one).hidden_states for one in (found, expected)]
    assert torch.equal(*states)


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 3}, {"num_key_value_heads": 1}, {"hidden_size": 48}])
def test_another_shape_is_refused_in_any_case(qwen, thought, make_tokenizer, changes):
    other = Engine.wrap(make_model("qwen2", **changes), make_tokenizer("chatml"), name="another")
    with pytest.raises(MessageError, match="a cache is for the model that made it"):
        cache_of_message(other, message_of_cache(qwen, thought), allow_foreign_cache=True)


def test_the_shape_of_a_memory_is_known_before_it_is_made(engine):
    memory = engine.prefill(["the kettle"])
    pairs = zip(memory.keys, memory.values, strict=True)
    assert engine.origin.shapes == tuple((*k.shape[1::2], *v.shape[1::2]) for k, v in pairs)


def test_eight_bits_travel_as_they_are_said_to(qwen, thought, tmp_path):
    """q = x / s rounded, s = max|x| / 127 for each column of a head: number by number."""
    message_of_cache(qwen, thought, int8=True).save(tmp_path / "memory.safetensors")
    message = load_message(tmp_path / "memory.safetensors")
    memory, plain = cache_of_message(qwen, message), message_of_cache(qwen, thought)
    assert message.header.dtype == "int8" and message.keys[0].dtype == torch.int8
    numbers = sum(layer.numel() for layer in (*thought.keys, *thought.values))
    scales = numbers // thought.keys[0].shape[3]
    assert plain.byte_size - message.byte_size == 4 * numbers - numbers - 4 * scales
    for found, known in zip((*memory.keys, *memory.values), (*thought.keys, *thought.values), strict=True):
        for place in torch.cartesian_prod(*map(torch.arange, known.shape[:3])).tolist():
            vector = known[tuple(place)]
            scale = float(vector.abs().max()) / 127 or 1.0
            expected = torch.tensor([round(float(x) / scale) * scale for x in vector])
            torch.testing.assert_close(found[tuple(place)], expected, atol=scale * 1e-3, rtol=1e-4)
    for found, known in zip(memory.keys, rounded(thought).keys, strict=True):
        assert torch.equal(found, known)
    assert torch.equal(memory.position_ids, thought.position_ids)


def test_layers_travel_with_a_memory(qwen, thought, tmp_path):
    message_of_cache(qwen, thought.only_layers([2]), int8=True).save(tmp_path / "memory.safetensors")
    memory = cache_of_message(qwen, load_message(tmp_path / "memory.safetensors"))
    assert torch.equal(memory.layer_mask, thought.only_layers([2]).layer_mask)
    assert not memory.keys[0].any() and memory.keys[1].any()
