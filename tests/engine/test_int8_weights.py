"""Weights of int8 against products in double precision with the same rounded numbers, computed one by one."""

import pytest
import torch
from torch import nn

from interlat.engine import int8_weights
from interlat.engine.backend import TransformersBackend
from interlat.engine.fingerprint import loaded_fingerprint, weights_fingerprint
from interlat.engine.hf import HFEngine
from interlat.engine.int8_weights import FEW_ROWS, int8_linear, is_rounded, round_weights, rounded
from interlat.engine.llama_family import LlamaFamilyBackend
from interlat.engine.packed import SWITCH
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


@pytest.mark.parametrize("count", [1, 7, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_the_rounded_weights(count, bias):
    weight, x = rounded(matrix()), torch.randn(count, 48, generator=torch.Generator().manual_seed(1)).bfloat16()
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
    memory, thoughts = ours.think(ours.prefill(TEXTS), 3, lambda states: states)
    for row, text in enumerate(TEXTS):
        _, alone = ours.think(ours.prefill([text]), 3, lambda states: states)
        torch.testing.assert_close(thoughts[row], alone[0], atol=0.1, rtol=0.1)
    # What one has read, the other goes on with.
    plain.check_cache(memory)


def test_models_without_such_maps_are_refused(build_model):
    with pytest.raises(CheckpointError, match="no linear maps of bfloat16"):
        round_weights(build_model("qwen2"))


def test_a_missing_package_and_a_wrong_name_are_said(folder, monkeypatch):
    with pytest.raises(InputError, match="or int8 with the engine hf or recurrent"):
        HFEngine.load(folder, dtype="int4")
    monkeypatch.setattr(int8_weights, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'interlat\[int8\]'"):
        HFEngine.load(folder, dtype="int8")
