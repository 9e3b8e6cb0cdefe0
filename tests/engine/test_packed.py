import pytest
import torch
from torch import nn
from torch.nn import functional

from interlat.engine import packed
from interlat.engine.hf import HFEngine
from interlat.engine.llama_family import LlamaFamilyBackend
from interlat.engine.packed import SWITCH, Linear, free_memory, pack_all
from interlat.engine.sampling import Sampling
from model_fixtures import make_model

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="a torch without oneDNN")


def linear(rows=300, columns=260, bias=True, dtype=torch.float32):
    torch.manual_seed(0)
    return Linear(nn.Linear(columns, rows, bias=bias, dtype=dtype).requires_grad_(False))


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7, 600])
def test_packed_weights_give_the_same(bias, count):
    one, x = linear(bias=bias), torch.randn(count, 260, generator=torch.Generator().manual_seed(1))
    plain = one(x)
    one.pack()
    module = one.modules[0]
    expected = functional.linear(x.double(), module.weight.double(), module.bias.double() if bias else None)
    assert one.packed is not None and torch.equal(plain, functional.linear(x, module.weight, module.bias))
    torch.testing.assert_close(one(x).double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one(x.repeat(1, 2)[:, :260]), one(x))


@needs_onednn
def test_bfloat16_where_the_processor_multiplies_it():
    one, x = linear(dtype=torch.bfloat16), torch.randn(9, 260).bfloat16()
    one.pack()
    assert (one.packed is not None) == bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    torch.testing.assert_close(
        one(x), functional.linear(x, one.modules[0].weight, one.modules[0].bias), atol=2e-2, rtol=2e-2
    )


@needs_onednn
def test_what_changes_is_packed_again():
    one, x = linear(), torch.randn(3, 260)
    one.pack()
    before = one(x)
    with torch.no_grad():
        one.modules[0].weight.mul_(2)
        one.modules[0].bias.mul_(2)
    one.refresh()
    torch.testing.assert_close(one(x), 2 * before)
    kept = one.packed
    one.refresh()
    assert one.packed is kept


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biases", [(True, True), (False, False), (True, False)])
def test_maps_that_read_the_same_become_one(biases, dtype):
    torch.manual_seed(0)
    sizes = (200, 40, 30)
    modules = [nn.Linear(260, size, bias=biases[size < 50], dtype=dtype) for size in sizes]
    one = Linear(*(module.requires_grad_(False) for module in modules))
    x = torch.randn(5, 260, dtype=dtype)
    expected = torch.cat([module(x) for module in modules], dim=1)
    assert torch.equal(one(x), expected), "plain it is each of them"
    one.pack()
    if dtype == torch.bfloat16 and one.packed is None:
        pytest.skip("this processor does not multiply bfloat16")
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 2e-2}
    torch.testing.assert_close(one(x), expected, **close)
    assert [tuple(part.shape) for part in one.parts(x)] == [(5, size) for size in sizes]
    torch.testing.assert_close(torch.cat(list(one.parts(x)), dim=1), expected, **close)
    with torch.no_grad():
        changed = modules[0].bias if biases[0] else modules[2].weight
        changed.add_(1)
    one.refresh()
    torch.testing.assert_close(one(x), torch.cat([module(x) for module in modules], dim=1), **close)


@needs_onednn
def test_replaced_weights_are_packed_again():
    one, x = linear(), torch.randn(3, 260)
    one.pack()
    changes = [
        lambda module: setattr(module, "weight", nn.Parameter(torch.randn(300, 260), requires_grad=False)),
        lambda module: setattr(module.weight, "data", torch.randn(300, 260)),
        lambda module: setattr(module.bias, "data", torch.randn(300)),
        lambda module: module.double(),
        lambda module: module.float(),
    ]
    for change in changes:
        change(one.modules[0])
        one.refresh()
        x = x.to(one.modules[0].weight.dtype)
        assert (one.packed is not None) == (x.dtype == torch.float32)
        torch.testing.assert_close(one(x), one.modules[0](x), atol=1e-4, rtol=1e-4)


def test_small_and_other_weights_stay_plain():
    for one in (linear(rows=255), linear(dtype=torch.float64), Linear(nn.Linear(300, 300, device="meta"))):
        one.pack()
        assert one.packed is None and one.bytes_packed == 0


@needs_onednn
def test_memory_and_the_user_decide(monkeypatch):
    def packs():
        return pack_all([linear(), linear(rows=20)])

    monkeypatch.delenv(SWITCH, raising=False)
    assert packs()
    monkeypatch.setattr(packed, "free_memory", lambda: 4 * 300 * 260 * 4 - 1)
    assert not packs()
    monkeypatch.setenv(SWITCH, "1")
    assert packs()
    monkeypatch.setattr(packed, "free_memory", lambda: 2**40)
    monkeypatch.setenv(SWITCH, "0")
    assert not packs()
    assert not pack_all([linear(rows=20)])


def test_free_memory_is_some_on_linux():
    assert free_memory() >= 0


@needs_onednn
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_a_loaded_model_reads_and_writes_as_a_wrapped_one(architecture, make_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    model = make_model(architecture, hidden_size=256, intermediate_size=320, num_attention_heads=4, head_dim=64)
    model.save_pretrained(tmp_path)
    make_tokenizer("chatml").save_pretrained(tmp_path)
    loaded, wrapped = HFEngine.load(str(tmp_path), dtype="float32"), HFEngine.wrap(model, make_tokenizer("chatml"))
    assert isinstance(loaded.backend, LlamaFamilyBackend) and loaded.backend.head.packed is not None
    assert wrapped.backend.head.packed is None, "who trains a model pays for no copy"
    texts, limit = ["the kettle is in the drawer", "put", "on the stove with the kettle"], Sampling(max_new_tokens=8)
    close = {"atol": 1e-4, "rtol": 1e-4}
    ours, plain = (engine.prefill(texts) for engine in (loaded, wrapped))
    torch.testing.assert_close(ours.hidden_states, plain.hidden_states, **close)
    found, expected = (engine.decode(memory, limit) for engine, memory in ((loaded, ours), (wrapped, plain)))
    assert found.token_ids == expected.token_ids
    assert found.token_ids == [loaded.decode(loaded.prefill([text]), limit).token_ids[0] for text in texts]
    with torch.no_grad():
        for parameter in (*loaded.model.parameters(), *model.parameters()):
            parameter.mul_(0.5)
    torch.testing.assert_close(loaded.prefill(texts).hidden_states, wrapped.prefill(texts).hidden_states, **close)
    torch.testing.assert_close(loaded.logits(ours.hidden_states), wrapped.logits(ours.hidden_states), **close)
