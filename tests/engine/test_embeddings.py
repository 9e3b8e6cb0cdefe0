import math
import os
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, OPTConfig, OPTForCausalLM

from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.vocabulary import VocabularyMean
from interlat.engine import embeddings
from interlat.engine.embeddings import input_embeddings, next_token_scores
from interlat.engine.hf import Engine
from interlat.engine.prompt import Latents, Text, Tokens
from interlat.errors import CheckpointError
from sweep.tiny_models import tiny_config, tiny_model

SOURCE = Path(__file__).resolve().parents[2] / "src" / "interlat"
MODELS = Path(os.environ.get("INTERLAT_TEST_MODELS") or "/nonexistent")
IDS = (5, 6, 7, 8, 9)
ROOT_OF_SIZE = math.sqrt(32)
# What a token's row of the weight is multiplied with inside the embedding module, by the papers and configurations.
SCALES = {
    "gemma": ROOT_OF_SIZE,
    "gemma2": ROOT_OF_SIZE,
    "gemma3_text": ROOT_OF_SIZE,
    "vaultgemma": ROOT_OF_SIZE,
    "gemma4_unified_text": ROOT_OF_SIZE,
    "minicpm3": 12.0,
    "biogpt": ROOT_OF_SIZE,
    "xglm": ROOT_OF_SIZE,
    # These scale after the module, latents too; or not at all.
    "granite": 1.0,
    "ctrl": 1.0,
    "cohere": 1.0,
    "gpt2": 1.0,
    "llama": 1.0,
}
SCALED = [name for name, scale in SCALES.items() if scale != 1.0]


@pytest.fixture(scope="module")
def engines(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    return {name: Engine.wrap(tiny_model(name), tokenizer, name) for name in SCALES}


@pytest.mark.parametrize("name", SCALES)
def test_a_latent_of_a_tokens_row_is_read_like_the_token(engines, name):
    engine = engines[name]
    with torch.no_grad():
        expected = engine.model(input_ids=torch.tensor([IDS])).logits[0, -1]
    row = engine.input_embeddings[IDS[-1]]
    found = engine.logits(engine.prefill([[Tokens(IDS[:-1]), Latents(row[None])]]).hidden_states)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", SCALES)
def test_the_table_is_the_weight_times_what_the_model_scales_it_with(engines, name):
    engine, weight = engines[name], engines[name].model.get_input_embeddings().weight.detach()
    table = engine.input_embeddings
    torch.testing.assert_close(table, weight * SCALES[name])
    assert not table.requires_grad
    assert (table.data_ptr() == weight.data_ptr()) == (SCALES[name] == 1.0), "no copy where nothing is scaled"
    some = torch.tensor([3, 300, 3])
    torch.testing.assert_close(input_embeddings(engine.model, some), weight[some] * SCALES[name])
    size = engine.input_embeddings.float().square().mean().sqrt()
    torch.testing.assert_close(size, SCALES[name] * weight.square().mean().sqrt(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["gemma3_text", "llama"])
def test_the_table_follows_the_parameters(name):
    model = tiny_model(name)
    before = input_embeddings(model)[4].clone()
    with torch.no_grad():
        model.get_input_embeddings().weight[4] *= 3
    torch.testing.assert_close(input_embeddings(model)[4], before * 3)


def test_what_is_hooked_onto_an_embedding_counts():
    model = tiny_model("llama")
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output * 2)
    torch.testing.assert_close(input_embeddings(model), model.get_input_embeddings().weight.detach() * 2)


@pytest.mark.parametrize("name", SCALED)
def test_the_check_at_load_sees_a_table_of_other_rows_than_the_model_reads(name, monkeypatch, make_tokenizer):
    monkeypatch.setattr(embeddings, "looks_up_only", lambda module: True)
    with pytest.raises(CheckpointError, match="latent made of a token's embedding"):
        Engine.wrap(tiny_model(name), make_tokenizer("chatml"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemma4_text", "hidden_size_per_layer_input is 8"),
        ("gemma3n_text", "hidden_size_per_layer_input is 8"),
        ("mllama", "cross_attention_layers"),
        ("electra", "input embeddings of size 16"),
        ("rembert", "a head that reads 16"),
        ("whisper", "max_position_embeddings None"),
    ],
)
def test_models_whose_states_cannot_be_latents_are_refused_at_load(name, said, make_tokenizer):
    with pytest.raises(CheckpointError, match=said) as error:
        Engine.wrap(tiny_model(name), make_tokenizer("chatml"), name)
    assert "\n" not in str(error.value)


def test_embeddings_that_are_projected_on_the_way_in_are_refused(make_tokenizer):
    """OPT-350m reads rows of 512 and has states of 1024."""
    config = OPTConfig(
        vocab_size=320, hidden_size=32, word_embed_proj_dim=16, ffn_dim=48, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(CheckpointError, match="input embeddings of size 16"):
        Engine.wrap(OPTForCausalLM(config).eval(), make_tokenizer("chatml"))


def test_gemma_4_without_embeddings_in_its_layers_is_read(make_tokenizer):
    config = tiny_config("gemma4_text")
    config.hidden_size_per_layer_input = 0
    torch.manual_seed(0)
    engine = Engine.wrap(AutoModelForCausalLM.from_config(config).eval(), make_tokenizer("chatml"))
    memory = engine.prefill([[Tokens(IDS)]])
    latent = engine.prefill([[Tokens(IDS[:-1]), Latents(engine.input_embeddings[[IDS[-1]]])]])
    torch.testing.assert_close(latent.hidden_states, memory.hidden_states)


@pytest.mark.parametrize("name", SCALES)
def test_a_sure_vocabulary_latent_is_read_like_the_likeliest_token(engines, name):
    engine = engines[name]
    memory = engine.prefill([[Tokens(IDS)]])
    with torch.no_grad():
        token = int(engine.model(input_ids=torch.tensor([IDS])).logits[0, -1].argmax())
        expected = engine.model(input_ids=torch.tensor([[*IDS, token]])).logits[0, -1]
    align = VocabularyMean(engine.logits, engine.hidden_size, engine.input_embeddings, temperature=1e-4)
    found = engine.logits(engine.think(memory, 1, align)[0].hidden_states)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("name", SCALES)
def test_an_aligned_latent_is_as_long_as_a_token(engines, name):
    engine = engines[name]
    lengths = engine.embed(torch.arange(320)).norm(dim=-1)
    align = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    assert align(torch.randn(1, 1, 32)).norm().item() == pytest.approx(lengths.mean().item(), rel=1e-4)


def test_thinking_leaves_the_states_that_it_began_with(engines):
    """CTRL multiplies its inputs in place."""
    memory = engines["ctrl"].prefill([[Tokens(IDS)]])
    before = memory.hidden_states.clone()
    _, thoughts = engines["ctrl"].think(memory, 2, lambda state: state)
    first = engines["ctrl"].prefill([[Tokens(IDS), Latents(before)]]).hidden_states
    assert torch.equal(memory.hidden_states, before)
    torch.testing.assert_close(thoughts[:, 0], first)


@pytest.mark.parametrize("name", ["granite", "cohere", "gemma2", "minicpm3"])
def test_scores_are_those_of_the_model(name):
    """All of these scale or cap what their head gives."""
    model, ids = tiny_model(name), torch.tensor([IDS])
    with torch.no_grad():
        states = model.get_decoder()(input_ids=ids).last_hidden_state
        expected = model(input_ids=ids).logits
        assert not torch.allclose(model.get_output_embeddings()(states), expected, rtol=0.01)
        torch.testing.assert_close(next_token_scores(model, states), expected)


def test_nobody_takes_the_weight_of_the_embeddings_for_what_the_model_reads():
    """Its shape, place and dtype may be asked; and whether the head is the same tensor."""
    about_tying = {"engine/transformers_model.py", "training/published.py"}
    use = re.compile(r"get_input_embeddings\(\)\.weight(?!\.(shape|device|dtype)\b)")
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if use.search(path.read_text("utf-8"))}
    assert found == about_tying


@pytest.mark.skipif(
    not (MODELS / "gemma-3-270m").is_dir(), reason="INTERLAT_TEST_MODELS names no folder with gemma-3-270m"
)
def test_a_real_model_reads_a_sure_latent_like_the_word():
    """Embeddings that are scaled; those of a Llama are tested in tests/real."""
    place, prompt = MODELS / "gemma-3-270m", "<bos>The capital of France is the city of"
    engine = Engine.load(str(place), dtype="float32", device="cpu")
    table = engine.input_embeddings
    assert NormMatchedIdentity.of_embeddings(table).target_norm == pytest.approx(26.1, abs=0.05)
    memory = engine.prefill([[Text(prompt)]])
    likeliest = int(engine.logits(memory.hidden_states)[0].argmax())
    assert engine.tokenizer.decode([likeliest]) == " Paris"
    read = engine.logits(engine.prefill([[Tokens((likeliest,))]], memory).hidden_states).softmax(dim=-1)
    align = VocabularyMean(engine.logits, engine.hidden_size, table, temperature=1e-4)
    thought = engine.logits(engine.think(memory, 1, align)[0].hidden_states).softmax(dim=-1)
    torch.testing.assert_close(thought, read, rtol=0, atol=1e-4)
    row = table[likeliest][None]
    latent = engine.logits(engine.prefill([[Text(prompt), Latents(row)]]).hidden_states).softmax(dim=-1)
    torch.testing.assert_close(latent, read, rtol=0, atol=1e-4)
