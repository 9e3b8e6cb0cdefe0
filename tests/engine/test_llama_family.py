"""The lean decoder against the model's own forward pass."""

import pytest
import torch

from interlat.engine import llama_family
from interlat.engine.backend import TransformersBackend
from interlat.engine.hf import Engine
from interlat.engine.llama_family import LlamaFamilyBackend, is_llama_family
from interlat.engine.prompt import Latents, Tokens
from interlat.engine.sampling import Sampling

ARCHITECTURES = ["qwen2", "qwen3", "llama", "mistral"]


def both(model, tokenizer):
    lean, plain = Engine.wrap(model, tokenizer), Engine.wrap(model, tokenizer)
    assert isinstance(lean.backend, LlamaFamilyBackend)
    plain.backend = TransformersBackend(model)
    return lean, plain


def converse(engine, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(4, engine.hidden_size, generator=generator).to(dtype)
    prompts = [
        [Tokens((30, 31)), Latents(rows), Tokens(tuple(range(40, 52)))],
        [Tokens((50,))],
        [Tokens((60, 61, 62))],
    ]
    memory, states = engine.prefill_hidden(prompts)
    memory, thoughts = engine.think(memory, 4, lambda x: x * 0.5)
    decoded = engine.decode(memory, Sampling(max_new_tokens=8), stop_ids=(), keep_hidden_states=True)
    memory, more = engine.prefill_hidden([[Tokens((70, 71))], [Tokens((80,))], [Tokens((90,) * 5)]], decoded.cache)
    return [*states, *thoughts, *decoded.hidden_states, *more], decoded.token_ids, memory


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lean_equals_plain(architecture, attention, build_model, make_tokenizer):
    lean, plain = both(build_model(architecture, attention=attention), make_tokenizer("chatml"))
    ours, our_ids, our_memory = converse(lean)
    theirs, their_ids, their_memory = converse(plain)
    assert our_ids == their_ids
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=3e-5, rtol=1e-4)
    mask = our_memory.attention_mask[:, None, :, None]
    for mine, other in zip(our_memory.keys, their_memory.keys, strict=True):
        torch.testing.assert_close(mine * mask, other * mask, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4,
                             "original_max_position_embeddings": 64}},
    ],
    ids=["mixed windows", "no grouping", "one key head", "linear rotary", "yarn rotary"],
)  # fmt: skip
def test_lean_equals_plain_for_other_shapes(changes, build_model, make_tokenizer):
    lean, plain = both(build_model("qwen2", **changes), make_tokenizer("chatml"))
    (ours, our_ids, _), (theirs, their_ids, _) = converse(lean), converse(plain)
    assert our_ids == their_ids
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=3e-5, rtol=1e-4)


def test_bfloat16_rounds_like_the_modules(build_model, make_tokenizer):
    lean, plain = both(build_model("qwen3").to(torch.bfloat16), make_tokenizer("chatml"))
    (ours, _, _), (theirs, _, _) = converse(lean, torch.bfloat16), converse(plain, torch.bfloat16)
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(mine, other, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("key_heads", [1, 4])
def test_a_mask_for_all_layers_gives_the_same_bits_as_one_for_each(
    key_heads, dtype, build_model, make_tokenizer, monkeypatch
):
    model, tokenizer = build_model("qwen2", num_key_value_heads=key_heads).to(dtype), make_tokenizer("chatml")
    found = []
    for most in (llama_family.KEPT_MASK, 0):
        monkeypatch.setattr(llama_family, "KEPT_MASK", most)
        found.append(converse(Engine.wrap(model, tokenizer), dtype))
    (ours, our_ids, _), (theirs, their_ids, _) = found
    assert our_ids == their_ids
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_changed_weights_count(build_model, make_tokenizer):
    """The engine reads the live parameters, so a model in training can be evaluated at any time."""
    lean, plain = both(build_model("llama"), make_tokenizer("chatml"))
    with torch.no_grad():
        for parameter in lean.model.parameters():
            parameter.mul_(0.9)
    ours, theirs = lean.prefill(["the"]).hidden_states, plain.prefill(["the"]).hidden_states
    torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=1e-4)


class TestRecognition:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_known_architectures(self, architecture, build_model):
        assert is_llama_family(build_model(architecture))

    def test_a_replaced_module_is_not_known(self, build_model):
        class Scaled(torch.nn.Linear):
            def forward(self, x):
                return super().forward(x) * 2

        model = build_model("qwen2")
        model.model.layers[1].mlp.down_proj = Scaled(48, 32, bias=False)
        assert not is_llama_family(model)

    def test_a_hooked_module_is_not_known(self, build_model, make_tokenizer):
        model = build_model("qwen2")
        handle = model.model.layers[0].register_forward_hook(lambda *_: None)
        assert not is_llama_family(model)
        assert isinstance(Engine.wrap(model, make_tokenizer("chatml")).backend, TransformersBackend)
        handle.remove()
        assert is_llama_family(model)

    def test_another_activation_is_not_known(self, build_model):
        assert not is_llama_family(build_model("llama", hidden_act="gelu"))

    def test_rotary_tables_that_depend_on_the_length_are_not_known(self, build_model):
        rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        assert not is_llama_family(build_model("llama", rope_parameters=rope))

    def test_a_subclass_is_not_known(self, build_model):
        model = build_model("llama")
        model.__class__ = type("Mine", (type(model),), {})
        assert not is_llama_family(model)
