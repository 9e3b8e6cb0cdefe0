"""Who may read a memory: the engine that made it, an equal one, or anyone if it is released."""

import gc

import pytest
import torch
from transformers import Qwen2Config

from interlat.engine.cache import KVCache
from interlat.engine.cache_selection import attention_received
from interlat.engine.hf import Engine
from interlat.engine.origin import Origin, rules_of
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.errors import CheckpointError, InputError
from model_fixtures import SPECIALS, make_model, tiny_tokenizer

PROMPT = [[Tokens((30, 31, 32))]]
ROPE = {"rope_type": "default", "rope_theta": 1e6}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
OTHERS = {
    "rope_theta": (
        ("qwen3", {"rope_parameters": ROPE}),
        "chatml",
        r"rope_parameters.rope_theta 1000000.0 against 10000.0",
    ),
    "yarn": (("qwen3", {"rope_parameters": YARN}), "chatml", r"rope_parameters.rope_type yarn against default"),
    "architecture": (("llama", {"head_dim": 16}), "chatml", "architecture llama against qwen3"),
    "norm": (("qwen3", {"rms_norm_eps": 1e-3}), "chatml", "rms_norm_eps 0.001 against 1e-06"),
    "tokenizer": (("qwen3", {}), "llama3", "another tokenizer or chat template"),
    "weights": (("qwen3", {"tied": False}), "chatml", r"weights \w{12} against \w{12}"),
}


@pytest.fixture(scope="module")
def maker(make_tokenizer):
    return Engine.wrap(make_model("qwen3"), make_tokenizer("chatml"), name="maker")


@pytest.fixture(scope="module")
def memory(maker):
    return maker.prefill(PROMPT)


@pytest.mark.parametrize("kind", OTHERS)
def test_every_way_into_another_model_is_refused_and_says_what_differs(memory, make_tokenizer, kind):
    (architecture, changes), template, expected = OTHERS[kind]
    other = Engine.wrap(make_model(architecture, **changes), make_tokenizer(template), name="other")
    assert other.origin.shapes == tuple((2, 16, 2, 16) for _ in range(2))
    message = f"the cache of maker does not fit other: .*{expected}.*; use the engine that made it"
    ways = (
        lambda: other.prefill(PROMPT, memory),
        lambda: other.think(memory, 1, lambda state: state),
        lambda: other.decode(memory, Sampling(max_new_tokens=2)),
        lambda: list(other.stream([Request("a", PROMPT[0], cache=memory)], Sampling(max_new_tokens=2))),
        lambda: attention_received(other, memory, torch.zeros(1, 1, 32)),
    )
    for way in ways:
        with pytest.raises(InputError, match=message) as caught:
            way()
        assert "\n" not in str(caught.value)
    released = memory.released()
    grown = other.prefill(PROMPT, released)
    assert grown.foreign == (maker_label(memory),) and grown.origin is other.origin
    assert other.decode(grown, Sampling(max_new_tokens=2)).cache.foreign == grown.foreign
    assert other.think(released, 1, lambda state: state)[0].foreign == grown.foreign


def maker_label(memory):
    return f"maker [{memory.origin.weights_fingerprint[:12]}]"


def test_another_shape_is_refused_released_or_not(memory, make_tokenizer):
    other = Engine.wrap(make_model("qwen3", num_key_value_heads=1), make_tokenizer("chatml"))
    for one in (memory, memory.released()):
        with pytest.raises(InputError, match=r"has 2 layers of 2 heads of size 16 .* 32, but .* of 1 heads"):
            other.prefill(PROMPT, one)


def test_an_equal_engine_and_a_trained_one_read_on(memory, make_tokenizer):
    equal = Engine.wrap(make_model("qwen3"), make_tokenizer("chatml"), name="equal")
    assert equal.prefill(PROMPT, memory).foreign == ()
    trained = Engine.wrap(make_model("qwen3"), make_tokenizer("chatml"))
    own = trained.prefill(PROMPT)
    assert trained.weights_fingerprint == equal.weights_fingerprint
    trained.model.model.norm.weight.data += 1
    assert len(trained.prefill(PROMPT, own)) == 1
    assert len(Engine.wrap(trained.model, trained.tokenizer).prefill(PROMPT, own)) == 1, "the model itself is known"


def test_no_fingerprint_is_computed_for_the_own_memory(monkeypatch, make_tokenizer):
    def never(*_):
        raise AssertionError("that takes seconds for a large model")

    monkeypatch.setattr("interlat.engine.origin.weights_fingerprint", never)
    monkeypatch.setattr("interlat.engine.origin.tokenizer_fingerprint", never)
    engine = Engine.wrap(make_model("qwen3"), make_tokenizer("chatml"))
    memory = engine.prefill(PROMPT, engine.prefill(PROMPT))
    assert len(engine.decode(KVCache.merge([memory, memory]), Sampling(max_new_tokens=1)).cache) == 1


def test_a_memory_does_not_keep_its_model(make_tokenizer):
    engine = Engine.wrap(make_model("qwen3"), make_tokenizer("chatml"), name="gone")
    memory, unknown = engine.prefill(PROMPT), engine.prefill(PROMPT)
    del engine
    gc.collect()
    equal = Engine.wrap(make_model("qwen3"), make_tokenizer("chatml"))
    with pytest.raises(InputError, match=r"cache of gone .* weights \w{12} against unknown"):
        equal.prefill(PROMPT, unknown)
    assert memory.released().foreign == ("gone [unknown weights]",)


def test_memories_of_different_models_are_joined_only_if_they_are_released(memory, make_tokenizer):
    other = Engine.wrap(make_model("qwen3", rope_parameters=ROPE), make_tokenizer("chatml"), name="other")
    second = other.prefill(PROMPT)
    for join in (KVCache.merge, KVCache.concat):
        with pytest.raises(InputError, match=r"caches of maker and other cannot be joined: rope_param"):
            join([memory, second])
        joined = join([memory, second.released()])
        assert joined.origin is memory.origin and joined.foreign == (other.origin.label,)
        assert join([memory, memory]).foreign == ()


def test_a_checkpoint_is_known_without_its_weights(tmp_path, make_tokenizer):
    model, tokenizer = make_model("qwen3", tied=False), make_tokenizer("chatml")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = Engine.load(str(tmp_path), dtype="bfloat16", device="cpu")
    (tmp_path / "model.safetensors").unlink()
    found = Origin.of_checkpoint(str(tmp_path))
    assert found.differences(loaded.origin, weights=False) == ""
    assert found.differences(loaded.origin).startswith("weights unknown against")
    assert "chatml" not in found.label and found.label.endswith("[unknown weights]")
    other = Origin.of_model("other", make_model("qwen3", tied=False), tiny_tokenizer(SPECIALS, 310))
    assert found.differences(other, weights=False) == "another tokenizer or chat template"
    with pytest.raises(CheckpointError, match=r"cannot load a model from .*nowhere"):
        Origin.of_checkpoint(str(tmp_path / "nowhere"))


def test_what_says_nothing_about_a_cache_is_not_compared():
    rules = rules_of(make_model("qwen3").config)
    assert rules["model_type"] == "qwen3" and rules["rope_parameters.rope_theta"] == 10000.0
    assert not {"dtype", "vocab_size", "use_cache", "eos_token_id", "max_position_embeddings"} & rules.keys()
    dynamic = make_model("llama", rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    assert rules_of(dynamic.config)["max_position_embeddings"] == 256


def test_many_differences_are_counted(make_tokenizer):
    models = [make_model("qwen3"), make_model("qwen3", rope_parameters=YARN, rms_norm_eps=1e-3, hidden_act="gelu")]
    one, other = (Origin.of_model("one", model, make_tokenizer("chatml")) for model in models)
    assert one.differences(other).startswith("rope_parameters.")
    assert one.differences(other).endswith(" more") and one.differences(other).count(", ") == 2


def test_rules_are_json_also_where_a_limit_is_infinite():
    config = Qwen2Config(some_limit=[0.0, float("inf")])
    assert rules_of(config)["some_limit"] == [0.0, "Infinity"]
