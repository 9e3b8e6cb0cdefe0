import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from interlat.cli.main import main
from interlat.engine import checkpoint
from interlat.engine.hf import Engine
from interlat.errors import CheckpointError, InputError


@pytest.fixture
def saved(build_model, make_tokenizer, tmp_path):
    build_model("qwen2", tied=False).save_pretrained(tmp_path)
    make_tokenizer("chatml").save_pretrained(tmp_path)
    return tmp_path


def test_load_gives_the_same_engine(saved, build_model, make_tokenizer):
    loaded = Engine.load(str(saved), dtype="float32", device="cpu")
    original = Engine.wrap(build_model("qwen2", tied=False), make_tokenizer("chatml"))
    assert loaded.weights_fingerprint == original.weights_fingerprint
    assert loaded.tokenizer_fingerprint == original.tokenizer_fingerprint
    assert loaded.name == str(saved) and loaded.revision == "local"
    assert (loaded.dtype, loaded.device.type) == (torch.float32, "cpu")
    assert (loaded.hidden_size, loaded.context_length) == (32, 256)
    # The weights are equal, as their fingerprints say; where they lie in memory decides about the last bits.
    states = [engine.prefill(["the"]).hidden_states for engine in (loaded, original)]
    assert torch.allclose(*states, rtol=1e-5, atol=1e-6)


def test_a_tokenizer_splits_as_it_did_when_it_was_saved(saved, make_tokenizer):
    """Beside a Qwen 2 model, AutoTokenizer would put Qwen's splitting rules in its place."""
    tokenizer = make_tokenizer("chatml")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split("e", behavior="isolated")
    tokenizer.save_pretrained(saved)
    text = "the kettle<bop>in the drawer"
    again = Engine.load(str(saved)).tokenizer
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert AutoTokenizer.from_pretrained(saved)(text)["input_ids"] != tokenizer(text)["input_ids"]


def test_a_small_model_loads_without_a_bar_and_a_large_one_with_it(saved, capfd, monkeypatch):
    Engine.load(saved)
    assert "Loading weights" not in capfd.readouterr().err
    monkeypatch.setattr(checkpoint, "BAR_FROM_BYTES", 1)
    Engine.load(saved)
    assert "Loading weights" in capfd.readouterr().err


def test_dtype_is_respected(saved):
    assert Engine.load(str(saved), dtype="bfloat16", device="cpu").dtype == torch.bfloat16


def test_no_such_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for place in (str(tmp_path / "nowhere"), "~/nowhere", "./nowhere", "runs/nowhere"):
        with pytest.raises(CheckpointError, match=r"there is no folder .*nowhere; check the path"):
            Engine.load(place)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"owner/nowhere: there is no such folder here, and as a hub id"):
        Engine.load("owner/nowhere")
    with pytest.raises(CheckpointError, match="is empty"):
        Engine.load("")


def test_an_empty_directory_and_a_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        Engine.load(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file"):
        Engine.load(str(tmp_path / "model.safetensors"))


def test_truncated_weights(saved):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot load a model"):
        Engine.load(str(saved))


def test_missing_weights_are_never_made_up(saved):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .*layers\.1\.mlp\.up_proj"):
        Engine.load(str(saved))


def test_shards_are_one_model_and_a_missing_one_is_an_error(saved, build_model, make_tokenizer):
    whole = Engine.load(str(saved), dtype="float32").weights_fingerprint
    (saved / "model.safetensors").unlink()
    build_model("qwen2", tied=False).save_pretrained(saved, max_shard_size="40KB")
    shards = sorted(saved.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert Engine.load(str(saved), dtype="float32").weights_fingerprint == whole
    shards[1].unlink()
    with pytest.raises(CheckpointError, match="cannot load a model") as error:
        Engine.load(str(saved))
    assert "\n" not in str(error.value)


def test_weights_of_another_shape(saved):
    config = json.loads((saved / "config.json").read_text())
    config["intermediate_size"] = 64
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"lacks 6 weights .*another shape .*gate_proj"):
        Engine.load(str(saved))


def test_pickled_weights_are_not_read(saved):
    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(CheckpointError, match="cannot load a model"):
        Engine.load(str(saved))


def test_no_tokenizer(saved):
    for file in saved.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="no tokenizer files"):
        Engine.load(str(saved))


def test_wrong_device_and_dtype(saved):
    with pytest.raises(InputError, match="not a device"):
        Engine.load(str(saved), device="nonsense")
    with pytest.raises(InputError, match="dtype is 'nonsense'"):
        Engine.load(str(saved), dtype="nonsense")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "optimum"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4, "zero_point": True}}, "gptqmodel"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}}}, "compressed-tensors"),
        ({"quantization_config": {"quant_method": "torchao", "quant_type": "int4_weight_only"}}, "torchao"),
        ({"quantization_config": {"quant_method": "spqr"}}, "GPU"),
        ({"_attn_implementation": "flash_attention_2"}, "FlashAttention2"),
        ({"attn_implementation": "flash_attention_3"}, "FlashAttention3"),
    ],
)
def test_what_is_missing_here_is_said_in_one_line(saved, asked, said, capsys, tmp_path):
    for package in ("optimum", "gptqmodel", "bitsandbytes", "compressed_tensors", "torchao", "flash_attn"):
        if importlib.util.find_spec(package) is not None:
            pytest.skip(f"{package} is installed")
    settings = json.loads((saved / "config.json").read_text("utf-8"))
    (saved / "config.json").write_text(json.dumps(settings | asked), "utf-8")
    capsys.readouterr()
    words = f"collect --model {saved} --source.kind arithmetic --limit 1 --output {tmp_path / 'out'}".split()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert f"{saved} cannot run here" in error and said in error


def test_a_forward_pass_that_fails_here_is_one_line(build_model, make_tokenizer):
    """As a model in eight bits does on a processor that cannot multiply them."""
    model = build_model("qwen2")
    model.model.layers[0].mlp.down_proj.bfloat16()
    with pytest.raises(CheckpointError, match=r"cannot read a few tokens here: .*dtype") as error:
        Engine.wrap(model, make_tokenizer("chatml"))
    assert "\n" not in str(error.value)
