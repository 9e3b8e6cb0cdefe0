"""Latent steps, caches in parts, and what is in a message, against plain loops over whole sequences."""

import pytest
import torch

import interlat
from interlat.channels.protocol import SendOptions, channel_named
from interlat.connectors.vocabulary import VocabularyMean
from interlat.engine.prompt import Latents, Text, Tokens
from interlat.engine.sampling import Sampling
from interlat.tasks.sources import PLAN_REQUEST
from real.prompts import CONVERSATIONS

TASK = "clean the kitchen"
PLAN = [33, 30, 7734, 411, 2498, 253, 1443, 3487, 288, 5697, 260, 3856]
"""1. Start by taking a few minutes to prepare the task"""
PLAN_NORMS = [54.760, 52.361, 48.034, 44.870, 43.812, 41.570, 46.239, 44.095, 44.345, 45.048, 42.524, 41.282]
THOUGHT_NORMS = [56.539, 54.500, 54.859, 55.499, 56.016, 56.269]
THOUGHT_BEGINS = [[-1.4138, 0.4799, -2.6472, 0.2066], [-2.0231, 0.1872, -0.5202, 0.6905]]
PLAN_BEGINS = [[-0.5208, 1.1499, -0.9577, 0.7762], [-1.1154, -0.6098, -0.6535, -0.0474]]
"""The first numbers of the first and the last state. Latents of a length that is 1 % off move them by 0.01."""


def test_latent_steps_are_those_of_a_plain_loop(scout, ids_of, plain_sequence):
    engine, steps = scout.engine, 4
    names = ("planning", "letter")
    prompts = [[Tokens(tuple(ids_of(CONVERSATIONS[name])))] for name in names]
    _, latents = engine.think(engine.prefill(prompts), steps, scout.identity)
    for found, name in zip(latents, names, strict=True):
        sequence = plain_sequence()
        sequence.read(CONVERSATIONS[name])
        torch.testing.assert_close(found, sequence.think(steps), rtol=1e-3, atol=1e-3)


def test_a_thought_and_a_plan_have_not_changed(scout):
    thought, plan = scout.think(TASK, 6), scout.write(TASK, max_new_tokens=12)
    assert thought.hidden_states.norm(dim=-1).tolist() == pytest.approx(THOUGHT_NORMS, rel=1e-3)
    assert plan.hidden_states.norm(dim=-1).tolist() == pytest.approx(PLAN_NORMS, rel=1e-3)
    for message, begins in ((thought, THOUGHT_BEGINS), (plan, PLAN_BEGINS)):
        torch.testing.assert_close(message.hidden_states[[0, -1], :4], torch.tensor(begins), rtol=0, atol=2e-3)
    assert list(plan.token_ids) == PLAN


def test_a_cache_in_parts_is_the_cache_at_once(scout, ids_of):
    engine = scout.engine
    rows = [ids_of(CONVERSATIONS[name]) for name in ("json", "letter", "planning")]
    cuts = [(0, 7, 30, len(rows[0])), (0, 20, 21, len(rows[1])), (0, 1, 9, len(rows[2]))]
    memory = None
    for part in range(3):
        pieces = [ids[cut[part] : cut[part + 1]] for ids, cut in zip(rows, cuts, strict=True)]
        memory = engine.prefill([[Tokens(tuple(ids))] for ids in pieces], memory)
    short = Sampling(max_new_tokens=10)
    written = engine.decode(memory, short)
    for row, ids in enumerate(rows):
        whole = engine.prefill([[Tokens(tuple(ids))]])
        torch.testing.assert_close(memory.hidden_states[row], whole.hidden_states[0], rtol=1e-3, atol=1e-3)
        alone, parts = whole.compact(), memory.select([row])
        for one, other in zip((*alone.keys, *alone.values), (*parts.keys, *parts.values), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=2e-3)
        assert written.token_ids[row] == engine.decode(whole, short).token_ids[0]


def test_a_cache_that_is_handed_over_is_read_on_from(scout, plain_sequence):
    """The sender's cache of K latent steps, then the receiver's own turn: as one plain pass over all of it."""
    steps, limit, question = 3, 10, "So, what comes first?"
    (made,) = channel_named(f"cache:{steps}").make(scout, [TASK], [TASK], SendOptions())
    sequence = plain_sequence()
    sequence.read([("user", PLAN_REQUEST.replace("{text}", TASK))])
    sequence.think(steps)
    sequence.read([("user", question)])
    assert scout.reply(question, made.message, max_new_tokens=limit) == sequence.write(limit)


def test_a_sure_latent_is_read_like_the_word(scout):
    engine, table = scout.engine, scout.engine.input_embeddings
    assert scout.identity.target_norm == pytest.approx(3.2, abs=0.05)
    memory = engine.prefill([[Text("The capital of France is")]])
    likeliest = int(engine.logits(memory.hidden_states)[0].argmax())
    assert engine.tokenizer.decode([likeliest]) == " Paris"
    read = engine.logits(engine.prefill([[Tokens((likeliest,))]], memory).hidden_states).softmax(dim=-1)
    align = VocabularyMean(engine.logits, engine.hidden_size, table, temperature=1e-4)
    thought = engine.logits(engine.think(memory, 1, align)[0].hidden_states).softmax(dim=-1)
    torch.testing.assert_close(thought, read, rtol=0, atol=1e-4)
    parts = [Text("The capital of France is"), Latents(table[likeliest][None])]
    latent = engine.logits(engine.prefill([parts]).hidden_states).softmax(dim=-1)
    torch.testing.assert_close(latent, read, rtol=0, atol=1e-4)


def test_an_inspection_says_what_was_said(scout, ids_of):
    plan = scout.write(TASK, max_new_tokens=12)
    found = interlat.inspect(plan, scout, top_k=3)
    assert found.same_model and found.text == plan.text
    assert [row.candidates[0].token_id for row in found.rows] == list(plan.token_ids)
    ids = torch.tensor([ids_of([("user", PLAN_REQUEST.replace("{text}", TASK))]) + list(plan.token_ids)])
    with torch.no_grad():
        scores = scout.engine.model(ids, use_cache=False).logits[0, -len(found.rows) - 1 : -1].log_softmax(dim=-1)
    for row, expected in zip(found.rows, scores, strict=True):
        assert row.candidates[0].probability == pytest.approx(float(expected.exp().max()), abs=1e-4)
        assert row.entropy == pytest.approx(float(-(expected.exp() * expected).sum()), abs=1e-3)
    assert str(found).count("\n") >= len(found.rows)
