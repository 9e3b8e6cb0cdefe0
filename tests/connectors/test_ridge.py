import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from interlat.connectors import ridge as module
from interlat.connectors.base import Connector
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.ridge import RidgeConfig, RidgeMap, cache_folder, ridge_map
from interlat.engine.hf import Engine
from interlat.errors import InputError
from model_fixtures import make_model
from sweep.tiny_models import tiny_config


def slow_map(read, written, ridge):
    """The normal equations entry by entry, solved by inversion."""
    read, written = read.double(), written.double()
    size = read.shape[1]
    gram = torch.zeros(size, size, dtype=torch.float64)
    mixed = torch.zeros(size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            gram[i, j] = (written[:, i] * written[:, j]).sum() + (ridge if i == j else 0.0)
            mixed[i, j] = (written[:, i] * read[:, j]).sum()
    return gram.inverse() @ mixed


@pytest.fixture
def tables():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, 6, generator=generator), torch.randn(60, 6, generator=generator)


@pytest.mark.parametrize("ridge", [1e-5, 3.0])
@pytest.mark.parametrize("chunk", [7, 1000])
def test_it_is_the_solution_of_the_normal_equations(tables, ridge, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", chunk)
    made = RidgeMap.of_tables(*tables, ridge)
    torch.testing.assert_close(made.weight.detach().double(), slow_map(*tables, ridge), atol=1e-6, rtol=1e-6)
    states = torch.randn(2, 3, 6)
    mapped = states @ made.weight
    norm = tables[0].norm(dim=1).mean()
    torch.testing.assert_close(made(states), norm * mapped / mapped.norm(dim=-1, keepdim=True))


def test_no_other_map_has_a_lower_penalised_error(tables):
    read, written = (table.double() for table in tables)
    weight = RidgeMap.of_tables(*tables, 0.5).weight.detach().double()

    def loss(candidate):
        return (written @ candidate - read).square().sum() + 0.5 * candidate.square().sum()

    for _ in range(20):
        assert loss(weight) < loss(weight + 1e-3 * torch.randn_like(weight))


def test_with_one_table_for_both_it_is_the_identity(tables):
    made = RidgeMap.of_tables(tables[0], tables[0])
    torch.testing.assert_close(made.weight, torch.eye(6), atol=1e-5, rtol=0)
    states = torch.randn(4, 6)
    torch.testing.assert_close(made(states), NormMatchedIdentity.of_embeddings(tables[0])(states), atol=1e-4, rtol=1e-4)
    assert (RidgeMap.of_tables(*tables).weight - torch.eye(6)).norm() > 1


def test_padding_becomes_zero_and_the_dtype_is_kept(tables):
    made = RidgeMap.of_tables(*tables)
    assert isinstance(made, Connector)
    mapped = made(torch.randn(3, 6).bfloat16(), torch.tensor([True, False, True]))
    assert mapped.dtype == torch.bfloat16 and not mapped[1].any() and mapped[0].any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: RidgeMap.of_tables(torch.randn(5, 3), torch.randn(6, 3)),
        lambda: RidgeMap.of_tables(torch.randn(5, 3), torch.randn(5, 3), 0.0),
        lambda: RidgeMap.of_tables(torch.randn(5, 3), torch.randn(5, 3))(torch.randn(1, 4)),
        lambda: RidgeConfig(3, 0.0),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_a_model_has_one_map_that_is_kept(make_tokenizer, tmp_path, monkeypatch):
    engine = Engine.wrap(make_model("qwen2", tied=False), make_tokenizer("chatml"))
    first = ridge_map(engine, cache=tmp_path)
    tables = engine.model.get_input_embeddings().weight, engine.model.get_output_embeddings().weight
    assert torch.equal(first.weight, RidgeMap.of_tables(*tables).weight)
    assert first.config.weights_fingerprint == engine.weights_fingerprint
    monkeypatch.setattr(RidgeMap, "of_tables", lambda *_: pytest.fail("computed again"))
    again = ridge_map(engine, cache=tmp_path)
    assert torch.equal(again.weight, first.weight) and not again.weight.requires_grad
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        ridge_map(engine, 0.1, cache=tmp_path)


def test_the_map_of_a_model_that_scales_its_embeddings_leads_to_what_it_reads(make_tokenizer, tmp_path):
    """And a map that was once made of the unscaled table is not read again."""
    config = tiny_config("gemma3_text")
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    engine = Engine.wrap(model, make_tokenizer("chatml"))
    stored, written = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    old = tmp_path / "ridge" / f"{engine.weights_fingerprint[:32]}-1e-05"
    RidgeMap.of_tables(stored, written).save(old)
    made = ridge_map(engine, cache=tmp_path)
    expected = RidgeMap.of_tables(stored.detach() * math.sqrt(32), written)
    torch.testing.assert_close(made.weight, expected.weight)
    assert made.config.target_norm == pytest.approx(expected.config.target_norm, rel=1e-5)
    assert made.config.target_norm == pytest.approx(
        engine.embed(torch.arange(320)).norm(dim=-1).mean().item(), rel=1e-5
    )


def test_tied_embeddings_need_no_map_and_that_is_said(make_tokenizer, tmp_path, capsys):
    engine = Engine.wrap(make_model("qwen2", tied=True), make_tokenizer("chatml"), name="tied model")
    assert isinstance(ridge_map(engine, cache=tmp_path), NormMatchedIdentity)
    assert "tied model ties its embeddings" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("INTERLAT_CACHE", "")
    assert cache_folder().parts[-2:] == (".cache", "interlat")
