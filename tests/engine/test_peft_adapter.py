import json
import shutil

import pytest
import torch

import interlat
from interlat.engine.checkpoint import load_checkpoint
from interlat.engine.origin import Origin
from interlat.errors import CheckpointError
from interlat.files import content_digest

peft = pytest.importorskip("peft")
IDS = torch.tensor([[5, 17, 250, 33, 9, 101]])


@pytest.fixture
def base(build_model, make_tokenizer, tmp_path):
    build_model("qwen2").save_pretrained(tmp_path / "base")
    make_tokenizer("chatml").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapted(build_model, base, seed=3, **options):
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False, **options)
    model = peft.get_peft_model(build_model("qwen2"), config)
    for one in model.peft_config.values():
        one.base_model_name_or_path = str(base)
    return model


@pytest.fixture
def adapter(build_model, base, tmp_path):
    adapted(build_model, base).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@torch.no_grad()
def logits_of(model):
    return model(IDS).logits


def test_it_is_the_model_that_peft_merges(adapter, base, build_model, tmp_path):
    model, tokenizer = load_checkpoint(str(adapter), "float32", "cpu", False)
    reference = adapted(build_model, base).merge_and_unload()
    assert torch.allclose(logits_of(model), logits_of(reference), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits_of(model), logits_of(build_model("qwen2")), atol=1e-2)
    assert type(model) is type(reference) and tokenizer.chat_template
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()


def test_the_fingerprint_is_of_base_and_adapter(adapter, base, build_model, tmp_path):
    def fingerprint(folder):
        return interlat.load(folder, dtype="float32").engine.weights_fingerprint

    first = fingerprint(adapter)
    assert len(first) == 64 and first != fingerprint(base)
    moved = tmp_path / "moved"
    base.rename(moved)
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(moved)}), "utf-8")
    assert fingerprint(adapter) == first
    adapted(build_model, moved, seed=4).save_pretrained(tmp_path / "other")
    assert fingerprint(tmp_path / "other") != first
    digest = content_digest(str(adapter))
    (moved / "extra.json").write_text("{}", "utf-8")
    assert content_digest(str(adapter)) != digest


def test_config_and_tokenizer_are_the_bases(adapter):
    model = Origin.of_checkpoint(str(adapter))
    engine = interlat.load(adapter, dtype="float32").engine
    assert model.layer_count == 2 and not engine.origin.differences(model, weights=False)


def test_a_missing_base_is_named_with_where_to_write_it(adapter, base):
    shutil.rmtree(base)
    with pytest.raises(CheckpointError) as error:
        interlat.load(adapter)
    assert str(base) in str(error.value) and "base_model_name_or_path" in str(error.value)


def test_a_base_that_is_not_named(adapter):
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}', "utf-8")
    with pytest.raises(CheckpointError, match=r"base_model_name_or_path .* is None"):
        interlat.load(adapter)


def test_a_base_of_another_shape(adapter, base, build_model):
    build_model("qwen2", hidden_size=64).save_pretrained(base)
    with pytest.raises(CheckpointError, match="does not fit its base model"):
        interlat.load(adapter)


def test_missing_parts_and_packages(adapter, monkeypatch):
    (adapter / "adapter_model.safetensors").rename(adapter / "aside")
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        interlat.load(adapter)
    monkeypatch.setattr("interlat.engine.peft_adapter.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install peft"):
        interlat.load(adapter)
