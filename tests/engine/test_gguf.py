import hashlib

import pytest
import torch
from transformers import AutoModelForCausalLM

import interlat
from interlat.engine.checkpoint import load_checkpoint, load_model_config, load_tokenizer
from interlat.engine.gguf import GGUFHeader, read_config
from interlat.engine.hf import HFEngine
from interlat.engine.origin import Origin
from interlat.errors import CheckpointError

pytest.importorskip("gguf", reason="the package gguf is not installed (pip install 'interlat[gguf]')")
from benchmarks.gguf_file import write_gguf

IDS = torch.tensor([[5, 17, 250, 33, 9, 101]])


@torch.no_grad()
def logits_of(model):
    return model(IDS).logits


@pytest.fixture
def file(build_model, make_tokenizer, tmp_path):
    return write_gguf(tmp_path / "m" / "model.gguf", build_model("llama"), make_tokenizer("chatml"))


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "m").mkdir()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_float_weights_are_read_exactly(build_model, make_tokenizer, tmp_path, architecture, kind, tied):
    model = build_model(architecture, tied=tied)
    if kind == "F16":
        # Vectors stay float32 in such files.
        for parameter in model.parameters():
            parameter.data = parameter.data.half().float() if parameter.ndim > 1 else parameter.data
    path = write_gguf(tmp_path / "model.gguf", model, make_tokenizer("chatml"), kind)
    loaded, _ = load_checkpoint(str(path), "float32", "cpu", False)
    assert type(loaded) is type(model)
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert torch.allclose(logits_of(loaded), logits_of(model), atol=1e-5, rtol=1e-5)


def test_eight_bit_weights_are_within_half_a_step(build_model, make_tokenizer, tmp_path):
    model = build_model("llama", intermediate_size=64)
    path = write_gguf(tmp_path / "model.gguf", model, make_tokenizer("chatml"), "Q8_0")
    loaded, _ = load_checkpoint(str(path), "float32", "cpu", False)
    name = "model.layers.0.mlp.gate_proj.weight"
    before, after = (one.state_dict()[name] for one in (model, loaded))
    blocks = before.reshape(-1, 32)
    step = blocks.abs().amax(dim=1, keepdim=True) / 127
    # Half a step of rounding, and the float16 rounding of the scale.
    bound = step * 0.5 + blocks.abs().amax(dim=1, keepdim=True) * 2**-11
    assert ((after.reshape(-1, 32) - blocks).abs() <= bound + 1e-7).all()
    assert not torch.equal(before, after)


def test_file_and_folder_are_one_model_with_the_fingerprint_of_the_file(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for place, dtype in ((file, "float32"), (file.parent, "bfloat16")):
        agent = interlat.load(place, dtype=dtype, device="cpu")
        assert agent.engine.weights_fingerprint == digest
        assert agent.engine.dtype == getattr(torch, dtype)
        assert agent.write("the kettle").header.weights_fingerprint == digest


def test_tokenizer_and_template_come_from_the_file(file, make_tokenizer):
    tokenizer, original = load_tokenizer(str(file)), make_tokenizer("chatml")
    text = "put the kettle<|im_end|> in the drawer 12"
    assert tokenizer(text)["input_ids"] == original(text)["input_ids"]
    assert tokenizer.chat_template == original.chat_template
    assert tokenizer.eos_token == "<|im_end|>"


def test_what_was_read_can_be_saved_and_is_the_same_model(file, tmp_path):
    model, tokenizer = load_checkpoint(str(file), "float32", "cpu", False)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again, tokenizer_again = load_checkpoint(str(tmp_path / "saved"), "float32", "cpu", False)
    assert torch.equal(logits_of(again), logits_of(model))
    assert "quantization_config" not in (tmp_path / "saved" / "config.json").read_text("utf-8")
    assert HFEngine.wrap(again, tokenizer_again).tokenizer_fingerprint == HFEngine.load(file).tokenizer_fingerprint
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").config.tie_word_embeddings


def test_the_config_is_read_without_weights(file):
    assert load_model_config(str(file)).num_hidden_layers == 2
    model = Origin.of_checkpoint(str(file.parent))
    assert model.layer_count == 2
    loaded = HFEngine.load(file, dtype="float32")
    assert not loaded.origin.differences(model, weights=False)
    config = read_config(file)
    config.hidden_size = 1
    assert read_config(file).hidden_size == 32


def test_several_files_are_named(file):
    (file.parent / "other.gguf").write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=r"several GGUF files \(model.gguf, other.gguf\)"):
        interlat.load(file.parent)
    assert interlat.load(file.parent / "other.gguf").engine.hidden_size == 32


def test_a_part_of_a_split_file_and_what_is_no_gguf_are_refused(file, tmp_path):
    split = file.rename(file.with_name("model-00001-of-00002.gguf"))
    with pytest.raises(CheckpointError, match="part of a split GGUF file"):
        interlat.load(split)
    (tmp_path / "no.gguf").write_bytes(b"PK..")
    with pytest.raises(CheckpointError, match="not a GGUF file"):
        interlat.load(tmp_path / "no.gguf")


@pytest.mark.parametrize("kept", [4, 30, 2000, -500])
def test_a_file_that_is_cut_off_is_one_line(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError) as error:
        interlat.load(file)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def test_a_missing_package_is_named(file, monkeypatch):
    monkeypatch.setattr("interlat.engine.gguf.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"needs the package gguf; run: pip install 'interlat\[gguf\]'"):
        interlat.load(file)


def test_the_header_says_what_is_in_the_file(file):
    header = GGUFHeader.read(file)
    assert header.architecture == "llama"
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["tokenizer.ggml.tokens"] == 320
    assert header.tensors["token_embd.weight"][0] == (32, 320)
    model, _ = load_checkpoint(str(file), "float32", "cpu", False)
    assert torch.equal(header.float32("output_norm.weight"), model.model.norm.weight)


class TestRotaryScaling:
    def test_the_factors_of_llama_3_are_read(self, build_model, make_tokenizer, tmp_path):
        rope = {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
        model = build_model("llama", hidden_size=256, rope_parameters=rope)
        size = 64
        plain = 500000.0 ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
        factors = plain / model.model.rotary_emb.inv_freq
        assert factors.max() > 7.99 and factors.min() < 1.01
        path = write_gguf(
            tmp_path / "model.gguf", model, make_tokenizer("chatml"), tensors={"rope_freqs.weight": factors}
        )
        loaded, _ = load_checkpoint(str(path), "float32", "cpu", False)
        assert torch.allclose(loaded.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq, rtol=1e-3)
        assert torch.allclose(logits_of(loaded), logits_of(model), atol=1e-4)

    def test_other_factors_and_rules_are_refused(self, build_model, make_tokenizer, tmp_path):
        model, tokenizer = build_model("llama"), make_tokenizer("chatml")
        factors = {"rope_freqs.weight": [1.0, 3.0, 2.0, 7.0]}
        with pytest.raises(CheckpointError, match="rotary factors"):
            interlat.load(write_gguf(tmp_path / "a.gguf", model, tokenizer, tensors=factors))
        yarn = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}
        with pytest.raises(CheckpointError, match="rule yarn"):
            interlat.load(write_gguf(tmp_path / "b.gguf", model, tokenizer, extra=yarn))

    def test_linear_scaling_is_read(self, build_model, make_tokenizer, tmp_path):
        rope = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
        model = build_model("qwen2", rope_parameters=rope)
        linear = {"qwen2.rope.scaling.type": "linear", "qwen2.rope.scaling.factor": 4.0}
        path = write_gguf(tmp_path / "model.gguf", model, make_tokenizer("chatml"), extra=linear)
        loaded, _ = load_checkpoint(str(path), "float32", "cpu", False)
        assert torch.allclose(logits_of(loaded), logits_of(model), atol=1e-5)
