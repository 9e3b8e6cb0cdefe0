"""Weights of int8 against products in double precision with the same rounded numbers, computed one by one."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from interlat.engine import int8_weights
from interlat.engine.backend import TransformersBackend
from interlat.engine.fingerprint import loaded_fingerprint, weights_fingerprint
from interlat.engine.hf import HFEngine
from interlat.engine.int8_weights import FEW_ROWS, int8_linear, is_rounded, round_weights, rounded
from interlat.engine.llama_family import LlamaFamilyBackend
from interlat.engine.packed import SWITCH, Linear
from interlat.engine.sampling import Sampling
from interlat.errors import CheckpointError, InputError
from model_fixtures import make_model

pytest.importorskip("torchao", reason="the package torchao is not installed")
TEXTS = ["the kettle is in the drawer", "put", "on the stove with the kettle"]


def matrix(rows=20, columns=48):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).bfloat16()


def test_rows_are_rounded_to_the_next_of_127_steps():
    weight = matrix()
    weight[3] = 0
    result = rounded(weight)
    assert is_rounded(result) and not is_rounded(weight) and result.qdata.dtype == torch.int8
    for row, q, scale in zip(weight.double(), result.qdata.double(), result.scale.double(), strict=True):
        assert scale == scale.bfloat16().double(), "the kernel takes scales of bfloat16"
        assert (q.abs().max() >= 126 or row.abs().max() == 0) and q.abs().max() <= 127
        assert torch.all((q * scale - row).abs() <= scale / 2 * 1.0001), "no weight is off by more than half a step"


@pytest.mark.parametrize("columns", [48, 40, 100, 255])
@pytest.mark.parametrize("count", [1, 7, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_the_rounded_weights(count, bias, columns):
    """Also where the columns are no whole blocks of the kernel, which then reads what is not there."""
    x = torch.randn(count, columns, generator=torch.Generator().manual_seed(1)).bfloat16()
    weight = rounded(matrix(columns=columns))
    added = torch.randn(20, generator=torch.Generator().manual_seed(2)).bfloat16() if bias else None
    expected = x.double() @ (weight.qdata.double() * weight.scale.double()).T
    expected = expected if added is None else expected + added.double()
    torch.testing.assert_close(int8_linear(x, weight, added).double(), expected, atol=0.06, rtol=0.02)


@pytest.fixture
def folder(tmp_path, make_tokenizer, request):
    size = {"hidden_size": 256, "intermediate_size": 320, "num_attention_heads": 4, "head_dim": 64}
    make_model(getattr(request, "param", "qwen2"), **size).save_pretrained(tmp_path)
    make_tokenizer("chatml").save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("folder", ["qwen2", "qwen3", "llama", "mistral"], indirect=True)
def test_a_model_of_int8_reads_nearly_as_one_of_bfloat16(folder, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    ours, plain = HFEngine.load(folder, dtype="int8"), HFEngine.load(folder, dtype="bfloat16")
    assert isinstance(ours.backend, LlamaFamilyBackend) and ours.dtype == torch.bfloat16
    layers = ours.model.model.layers
    assert all(is_rounded(one.weight) for one in layers.modules() if isinstance(one, nn.Linear))
    assert not is_rounded(ours.model.lm_head.weight) and not is_rounded(ours.model.get_input_embeddings().weight)
    assert all(one.packed is None for one in ours.backend.linears[1:]), "a packed copy would take the memory again"
    found, expected = ours.prefill(TEXTS).hidden_states.float(), plain.prefill(TEXTS).hidden_states.float()
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()
    # The same numbers on the model's own modules, which torchao multiplies.
    ours.backend = TransformersBackend(ours.model)
    assert (ours.prefill(TEXTS).hidden_states.float() - found).norm() < 0.03 * found.norm()


def test_it_writes_thinks_and_is_the_model_that_it_was_loaded_from(folder):
    ours, plain = HFEngine.load(folder, dtype="int8"), HFEngine.load(folder, dtype="bfloat16")
    assert loaded_fingerprint(ours.model) == weights_fingerprint(plain.model)
    together = ours.decode(ours.prefill(TEXTS), Sampling(max_new_tokens=4), stop_ids=())
    assert [len(ids) for ids in together.token_ids] == [4, 4, 4]
    memory = ours.prefill(TEXTS)
    for row, text in enumerate(TEXTS):
        alone, beside = ours.prefill([text]).hidden_states[0].float(), memory.hidden_states[row].float()
        assert (alone - beside).norm() < 0.05 * alone.norm(), "bfloat16 rounds otherwise in larger products"
    memory, thoughts = ours.think(memory, 3, lambda states: states)
    assert thoughts.shape == (3, 3, 256) and thoughts.isfinite().all()
    # What one has read, the other goes on with.
    plain.check_cache(memory)


def quantised(config):
    from torchao.quantization import quantize_

    module = nn.Linear(64, 48).bfloat16().requires_grad_(False)
    quantize_(module, config)
    return module


def test_what_torchao_rounds_otherwise_is_left_to_it(build_model, make_tokenizer):
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, PerTensor, quantize_

    for config in (
        Int8WeightOnlyConfig(),
        Int8WeightOnlyConfig(granularity=PerTensor()),
        Int8DynamicActivationInt8WeightConfig(),
    ):
        module, x = quantised(config), torch.randn(2, 64).bfloat16()
        one = Linear(module)
        one.pack()
        # By rows it may come to scales of bfloat16, as here; then it is the same.
        assert not one.rounded or module.weight.scale.shape == (48, 1)
        assert one.packed is None
        torch.testing.assert_close(one(x), functional.linear(x, module.weight, module.bias), atol=2e-2, rtol=2e-2)
        model = build_model("qwen2").bfloat16()
        quantize_(model, config, filter_fn=lambda part, name: isinstance(part, nn.Linear) and "lm_head" not in name)
        HFEngine.wrap(model, make_tokenizer("chatml")).prefill(TEXTS)


def test_records_and_fingerprints_name_what_was_rounded(folder, make_tokenizer):
    ours, plain = HFEngine.load(folder, dtype="int8"), HFEngine.load(folder, dtype="bfloat16")
    assert (ours.number_format, plain.number_format) == ("int8", "bfloat16")
    # Nobody remembers the files of a model that was only wrapped: it is known by its rounded numbers.
    wrapped = HFEngine.wrap(copy.deepcopy(ours.model), make_tokenizer("chatml"))
    assert wrapped.weights_fingerprint not in ("", ours.weights_fingerprint)


def test_weights_that_are_rounded_later_are_seen(folder, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    engine = HFEngine.load(folder, dtype="bfloat16")
    before = engine.prefill(TEXTS).hidden_states
    round_weights(engine.model)
    after = engine.prefill(TEXTS).hidden_states
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, HFEngine.load(folder, dtype="int8").prefill(TEXTS).hidden_states)


def test_models_without_such_maps_are_refused(build_model):
    with pytest.raises(CheckpointError, match="no linear maps of bfloat16"):
        round_weights(build_model("qwen2"))


def test_a_missing_package_and_a_wrong_name_are_said(folder, monkeypatch):
    with pytest.raises(InputError, match="or int8 with the engine hf or recurrent"):
        HFEngine.load(folder, dtype="int4")
    monkeypatch.setattr(int8_weights, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'interlat\[int8\]'"):
        HFEngine.load(folder, dtype="int8")
