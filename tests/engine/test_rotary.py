"""LongRoPE: what a row gets is what a model of its own, that reads this row alone, gives it."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.cache import KVCache
from interlat.engine.cache_selection import attention_received
from interlat.engine.hf import Engine
from interlat.engine.prompt import Tokens
from interlat.engine.rotary import check_not_crossing, original_length, positions_of_rows, read_rows_apart
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.errors import CheckpointError, InputError, PromptError
from interlat.teams.runner import Teamwork
from interlat.teams.team import Member, Team
from interlat.teams.turns import Question
from model_fixtures import make_longrope

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def engine(make_tokenizer):
    return Engine.wrap(make_longrope(), make_tokenizer("chatml"), name="phi")


@pytest.fixture(scope="module")
def plain():
    """States of one row by a model that no engine has touched."""
    model = make_longrope()

    @torch.no_grad()
    def states(ids):
        return model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True).hidden_states[-1][0]

    return states


def row(length, seed=0):
    return torch.randint(20, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def prompts(*rows):
    return [[Tokens(tuple(ids))] for ids in rows]


def test_the_two_kinds_of_factors_differ(plain):
    """The test model can tell them apart, or the tests here would show nothing."""
    ids = row(60)
    assert (plain(ids)[:12] - plain(ids[:12])).abs().max() > 0.1


@pytest.mark.parametrize("lengths", [(12, 60), (60, 12, 32, 33), (33, 1), (32, 31), (128, 32)])
def test_rows_of_any_lengths_are_read_as_if_alone(engine, plain, lengths):
    rows = [row(length, seed) for seed, length in enumerate(lengths)]
    memory, states = engine.prefill_hidden(prompts(*rows))
    for ids, found, last in zip(rows, states, memory.hidden_states, strict=True):
        torch.testing.assert_close(found, plain(ids), **CLOSE)
        torch.testing.assert_close(last, plain(ids)[-1], **CLOSE)


def test_parts_that_stay_on_one_side_equal_the_whole(engine, plain):
    short, long = row(32, 1), row(70, 2)
    memory = engine.prefill(prompts(short[:5], long[:40]))
    memory = engine.prefill(prompts(short[5:20], long[40:41]), memory)
    memory, states = engine.prefill_hidden(prompts(short[20:], long[41:]), memory)
    torch.testing.assert_close(states[0], plain(short)[20:], **CLOSE)
    torch.testing.assert_close(states[1], plain(long)[41:], **CLOSE)


def test_a_row_that_would_change_its_factors_is_refused(engine):
    memory = engine.prefill(prompts(row(12), row(40)))
    with pytest.raises(PromptError, match=r"prompt 0 is 21 positions long after 12, .* ends after 32 positions"):
        engine.prefill(prompts(row(21), row(3)), memory)
    align = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    with pytest.raises(PromptError, match=r"of sequence 0 takes 21 positions long after 12, .* after 32 positions"):
        engine.think(memory, 21, align)
    assert engine.think(memory, 20, align)[0].next_position.tolist() == [32, 60]
    with pytest.raises(InputError, match="fills the context"):
        attention_received(engine, engine.prefill(prompts(row(32))), torch.zeros(1, 1, 32))


def test_words_end_where_the_factors_would_change_and_are_those_of_plain_passes(engine, plain):
    rows = [row(28), row(40)]
    decoded = engine.decode(engine.prefill(prompts(*rows)), Sampling(max_new_tokens=10), stop_ids=())
    assert [len(ids) for ids in decoded.token_ids] == [4, 10] and decoded.stopped == [False, False]
    for ids, found in zip(rows, decoded.token_ids, strict=True):
        for _ in found:
            ids.append(int(engine.logits(plain(ids)[-1]).argmax()))
        assert ids[-len(found) :] == found
    requests = [Request(str(n), prompt) for n, prompt in enumerate(prompts(rows[0][:28], rows[1][:40], row(32)))]
    written = {w.key: w.token_ids for w in engine.stream(requests, Sampling(max_new_tokens=10), stop_ids=())}
    assert written == {"0": decoded.token_ids[0], "1": decoded.token_ids[1], "2": []}


def test_memories_of_both_kinds_are_not_merged(engine):
    short, long = engine.prefill(prompts(row(12)), segment="a"), engine.prefill(prompts(row(40)), segment="b")
    with pytest.raises(InputError, match="up to 32 positions cannot be merged with longer ones"):
        KVCache.merge([short, long])
    assert len(KVCache.concat([short, long])) == 2, "side by side they are rows of their own"


def test_an_item_whose_memories_differ_in_kind_fails_alone(make_tokenizer):
    rope = make_longrope().config.rope_parameters | {"original_max_position_embeddings": 48}
    model = make_longrope(rope_parameters=rope, original_max_position_embeddings=48)
    engine = Engine.wrap(model, make_tokenizer("chatml"))

    def thinker(name, prompt):
        return Member(name, prompt, output="latents", latent_steps=2)

    last = Member("last", "b", inputs=("short", "long"), sampling=Sampling(max_new_tokens=2))
    members = (thinker("short", "a"), thinker("long", "{question}"), last)
    align = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    team = Teamwork(Team(members), {"": engine}, {"": align})
    works = {w.question.key: w for w in team.run([Question("one", "x" * 60), Question("two", "a")])}
    assert "cannot merge its inputs" in works["one"].failure
    assert works["two"].failure == ""


def test_equal_factors_have_no_limit(make_tokenizer):
    rope = dict(make_longrope().config.rope_parameters)
    rope["short_factor"] = rope["long_factor"]
    model = make_longrope(rope_parameters=rope)
    assert original_length(model) is None
    engine = Engine.wrap(model, make_tokenizer("chatml"))
    ids = row(60)
    _, states = engine.prefill_hidden(prompts(ids[12:]), engine.prefill(prompts(ids[:12])))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(states[0], expected[12:], **CLOSE)
    assert engine.context_after(12) == 128


def test_the_model_itself_reads_rows_apart_and_its_copies_do(plain):
    model = make_longrope()
    kind = type(model.model.rotary_emb)
    read_rows_apart(model)
    read_rows_apart(model)
    assert type(model.model.rotary_emb).__mro__[2] is kind, "once"
    rows = [row(12), row(60, 1)]
    real = torch.arange(60)[None] < torch.tensor([12, 60])[:, None]
    ids = torch.tensor([rows[0] + [0] * 48, rows[1]])
    for one in (model, copy.deepcopy(model)):
        with torch.no_grad():
            named = positions_of_rows(one, real)
            found = one(input_ids=ids, use_cache=False, output_hidden_states=True, **named).hidden_states[-1]
        torch.testing.assert_close(found[0, :12], plain(rows[0]), **CLOSE)
        torch.testing.assert_close(found[1], plain(rows[1]), **CLOSE)


def test_other_models_are_left_alone_and_need_no_positions(build_model):
    model = build_model("llama")
    before = type(model.model.rotary_emb)
    read_rows_apart(model)
    assert type(model.model.rotary_emb) is before
    assert original_length(model) is None and positions_of_rows(model, torch.ones(2, 300, dtype=torch.bool)) == {}


def test_dynamic_factors_are_those_of_a_row_alone(make_tokenizer):
    """They change past the context only; rows that have ended count on past it beside the others."""
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    shape = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    torch.manual_seed(7)
    config = LlamaConfig(**shape, num_attention_heads=4, max_position_embeddings=64, rope_parameters=rope)
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim < 2), std=0.2)
    untouched = copy.deepcopy(model.eval())
    engine = Engine.wrap(model, make_tokenizer("chatml"))
    rows = [row(60), row(3, 1), row(5, 2)]
    decoded = engine.decode(engine.prefill(prompts(*rows)), Sampling(max_new_tokens=40), stop_ids=())
    assert [len(ids) for ids in decoded.token_ids] == [4, 40, 40]
    for ids, found in zip(rows, decoded.token_ids, strict=True):
        with torch.no_grad():
            scores = untouched(input_ids=torch.tensor([ids + found]), use_cache=False).logits[0]
        assert scores[len(ids) - 1 : -1].argmax(dim=-1).tolist() == found
    with pytest.raises(InputError, match="a sequence takes 65 positions; from 64 on dynamic rotary factors"):
        positions_of_rows(model, torch.ones(2, 65, dtype=torch.bool))


def test_columns_with_a_gradient_do_not_cross(engine):
    mask, positions = torch.ones(2, 40, dtype=torch.bool), torch.arange(40).expand(2, 40)
    with pytest.raises(InputError, match="ends after 32 positions"):
        check_not_crossing(32, mask, positions, 12)
    check_not_crossing(32, mask, positions, 0)
    check_not_crossing(32, mask, positions, 33)
    check_not_crossing(None, mask, positions, 12)
    mask[:, 32:] = False
    check_not_crossing(32, mask, positions, 12)


def test_layers_with_different_lengths_are_refused():
    model = make_longrope()
    other = copy.deepcopy(model.model.rotary_emb)
    other.config.rope_parameters["original_max_position_embeddings"] = 16
    model.model.other = other
    with pytest.raises(CheckpointError, match=r"different lengths \[16, 32\]"):
        original_length(model)
