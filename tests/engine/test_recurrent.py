"""A few models whose layers keep a state; `make test-sweep` tries all types."""

import warnings

import pytest
import torch

from interlat.agents.agent import Agent
from interlat.engine import recurrent
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Tokens
from interlat.engine.protocol import load_model
from interlat.engine.recurrent import RecurrentEngine
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.errors import CheckpointError
from interlat.evaluation.team_settings import EvaluateTeams
from interlat.evaluation.teams import evaluate_teams, results_of
from interlat.progress import drain
from interlat.tasks.sources import TaskSource
from interlat.teams.topologies import TeamOptions
from model_fixtures import make_longrope, make_model
from recurrent_checks import check_engine
from sweep.tiny_models import tiny_model


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer):
    return make_tokenizer("chatml")


@pytest.mark.parametrize("model_type", ["qwen3_5_text", "jamba", "mamba", "llama4_text", "falcon_h1"])
def test_it_computes_what_plain_passes_do(model_type, tokenizer, tmp_path):
    engine = RecurrentEngine.wrap(tiny_model(model_type), tokenizer, model_type)
    # Read several inputs at once behind what they have read Jamba and Mamba cannot, in transformers.
    assert engine.reads_parts == (model_type not in ("jamba", "mamba"))
    check_engine(engine, tmp_path)


def test_it_is_the_reference_engine_where_both_run(tokenizer, tmp_path):
    model = make_model("qwen3", tied=False)
    ours, reference = RecurrentEngine.wrap(model, tokenizer, "a"), HFEngine.wrap(model, tokenizer, "a")
    check_engine(ours, tmp_path)
    texts, limit = ["the kettle is", "put", "the stove?"], Sampling(max_new_tokens=6)
    for sampling, seeds in ((limit, None), (Sampling(temperature=1.0, max_new_tokens=6), [3, 4, 5])):
        found, expected = (engine.decode(engine.prefill(texts), sampling, seeds) for engine in (ours, reference))
        assert found.token_ids == expected.token_ids and found.stopped == expected.stopped
    assert (ours.weights_fingerprint, ours.stop_ids) == (reference.weights_fingerprint, reference.stop_ids)
    sent = [Agent(engine).write("the kettle", sampling=limit) for engine in (ours, reference)]
    torch.testing.assert_close(sent[0].hidden_states, sent[1].hidden_states, atol=1e-5, rtol=1e-4)
    assert sent[0].text == sent[1].text


def test_a_sequence_is_the_same_bit_for_bit_beside_others(tokenizer):
    engine = RecurrentEngine.wrap(tiny_model("qwen3_next"), tokenizer, "a")
    together = engine.prefill(["the kettle is in the drawer", "put", "stove"])
    engine._kept.clear()
    assert torch.equal(engine.prefill(["put"]).hidden_states[0], together.hidden_states[1])


def test_a_memory_whose_cache_is_gone_is_read_again(tokenizer, monkeypatch):
    engine = RecurrentEngine.wrap(tiny_model("qwen3_next"), tokenizer, "a")
    memory = engine.prefill(["the kettle is in the drawer"])
    expected = engine.prefill([[Tokens((5, 6))]], memory)
    monkeypatch.setattr(recurrent, "KEPT", 2)
    engine.prefill(["a", "b", "c"])
    assert len(engine._kept) == 2
    found = engine.prefill([[Tokens((5, 6))]], memory)
    torch.testing.assert_close(found.hidden_states, expected.hidden_states, atol=1e-4, rtol=1e-3)


def test_the_reference_engine_says_which_engine_to_take(tokenizer, tmp_path):
    tiny_model("qwen3_next").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="take the engine recurrent"):
        HFEngine.load(str(tmp_path))
    assert load_model(str(tmp_path), "recurrent", dtype="float32").layers == 2


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("rwkv", "no cache from outside"),
        ("gemma4_text", "hidden_size_per_layer_input"),
        ("bamba", "computes other logits"),
        ("mpt", "max_position_embeddings"),
    ],
)
def test_what_it_cannot_run_is_refused_in_a_line(model_type, why, tokenizer):
    with pytest.raises(CheckpointError, match=why) as caught:
        RecurrentEngine.wrap(tiny_model(model_type), tokenizer, model_type)
    assert "\n" not in str(caught.value)


def test_a_team_of_such_models_thinks_and_answers(tokenizer, tmp_path):
    folder = tmp_path / "model"
    tiny_model("qwen3_next").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = EvaluateTeams(
        model=str(folder), output=str(tmp_path / "run"), task=TaskSource("arithmetic", count=2),
        variants=("single", "latent", "text"), batch_size=2, dtype="float32", engine="recurrent",
        team=TeamOptions(latent_steps=2, topology="sequential", sampling=Sampling(max_new_tokens=4)),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drain(evaluate_teams(config))
    records = results_of(config).records
    assert len(records) == 6


def test_longrope_ends_where_its_factors_do(tokenizer):
    """What was read with the short factors cannot go on with the long ones; the reference engine ends there, too."""
    model = make_longrope()
    engines = RecurrentEngine.wrap(model, tokenizer, "a"), HFEngine.wrap(model, tokenizer, "a")
    prompt, limit = [[Tokens(tuple(range(40, 68)))]], Sampling(max_new_tokens=12)
    found, expected = (engine.decode(engine.prefill(prompt), limit, stop_ids=()) for engine in engines)
    assert found.token_ids == expected.token_ids and len(found.token_ids[0]) == 4
    streamed = [list(engine.stream([Request("a", prompt[0])], limit, stop_ids=())) for engine in engines]
    assert [one[0].token_ids for one in streamed] == [found.token_ids[0]] * 2


def test_a_reply_reads_nothing_again(tokenizer, monkeypatch):
    engine = RecurrentEngine.wrap(tiny_model("qwen3_next"), tokenizer, "a")
    memory, widths = engine.prefill(["the kettle is in the drawer"]), []
    forward = engine._forward
    monkeypatch.setattr(engine, "_forward", lambda rows, cache: widths.append(rows.shape[1]) or forward(rows, cache))
    written = engine.decode(memory, Sampling(max_new_tokens=3), stop_ids=())
    engine.prefill([[Tokens((5, 6))]], written.cache)
    assert widths == [1, 1, 1, 2]
    list(engine.stream([Request(str(n), "put") for n in range(5)], Sampling(max_new_tokens=2)))
    assert len(engine._kept) == 3, "nobody goes on from what a stream read"
