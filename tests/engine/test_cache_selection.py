"""Columns chosen from a memory: which ones, that they stay where they were, and alone as in company."""

import pytest
import torch

from interlat.engine.cache import KVCache
from interlat.engine.cache_selection import (
    SINKS,
    attention_received,
    best_positions,
    likeness,
    random_scores,
    select_positions,
)
from interlat.engine.hf import Engine
from interlat.errors import InputError

PROMPTS = ["the kettle is in the drawer and the stove is hot", "put", "put the kettle on the stove"]


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(1))


def test_attention_is_that_of_a_whole_pass(engine, inputs):
    """Against one pass of each row over all of its tokens, without a cache."""
    memory = engine.prefill(PROMPTS)
    found = attention_received(engine, memory, inputs)
    assert engine.config._attn_implementation == "sdpa"
    table = engine.model.get_input_embeddings().weight
    for row, prompt in enumerate(PROMPTS):
        ids = engine.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        engine.model.set_attn_implementation("eager")
        embeddings = torch.cat([table[ids], inputs[row]])[None]
        weights = engine.model(inputs_embeds=embeddings, output_attentions=True, use_cache=False).attentions
        engine.model.set_attn_implementation("sdpa")
        expected = torch.stack([w[0, :, -1, :-1].mean(0) for w in weights]).mean(0)
        held = memory.attention_mask[row]
        torch.testing.assert_close(found[row, held], expected, atol=1e-6, rtol=1e-5)
        assert not found[row, ~held].any()


def test_a_layer_that_sees_nothing_of_a_memory_gives_it_no_attention(qwen, inputs):
    memory = qwen.prefill(PROMPTS)
    everything, first, none = (
        attention_received(qwen, memory.only_layers(layers), inputs).sum() for layers in ((1, 2), (1,), ())
    )
    assert everything > first > 0 == none


def test_a_full_context_is_refused(build_model, make_tokenizer):
    engine = Engine.wrap(build_model("qwen2", max_position_embeddings=10), make_tokenizer("chatml"), name="short")
    memory = engine.prefill(["kettle" * 2])
    room = 10 - int(memory.next_position)
    memory, _ = engine.think(memory, room, lambda states: states)
    with pytest.raises(InputError, match="the cache fills the context of short"):
        attention_received(engine, memory, torch.zeros(1, 1, 32))


def test_likeness_does_not_know_positions(qwen):
    """The same words read later are as like as before, though their keys have turned; the last column is itself."""
    early = qwen.prefill(["put the kettle"])
    late = qwen.prefill(["put the kettle"])
    moved = KVCache(**{**vars(late), "position_ids": late.position_ids + 7})
    torch.testing.assert_close(likeness(early), likeness(moved))
    padded = qwen.prefill(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        held = padded.attention_mask[row]
        found = likeness(padded)[row, held]
        assert found[-1].item() == pytest.approx(1.0)
        torch.testing.assert_close(found, likeness(qwen.prefill([prompt]))[0], atol=1e-5, rtol=1e-5)


def test_chance_is_the_row_s_own(qwen):
    padded = qwen.prefill(PROMPTS)
    together = random_scores(padded, [5, 6, 7])
    for row, prompt in enumerate(PROMPTS):
        alone = random_scores(qwen.prefill([prompt]), [5 + row])[0]
        assert torch.equal(together[row, padded.attention_mask[row]], alone)
    assert not torch.equal(random_scores(padded, [8, 9, 10]), together)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
        (0.2, [[0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]),
        (0.5, [[0, 1, 0, 1, 0], [0, 0, 1, 0, 0]]),
        (0.6, [[0, 1, 0, 1, 1], [0, 0, 1, 0, 1]]),
        (1.0, [[0, 1, 1, 1, 1], [0, 0, 1, 0, 1]]),
    ],
)
def test_the_best_of_each_row_s_own_candidates(share, expected):
    scores = torch.tensor([[9.0, 2.0, 1.0, 3.0, 2.0], [1.0, 1.0, 1.0, 9.0, 1.0]])
    candidates = torch.tensor([[0, 1, 1, 1, 1], [0, 0, 1, 0, 1]], dtype=torch.bool)
    assert best_positions(scores, candidates, share).int().tolist() == expected


def test_a_share_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"1\.2; give 0 to 1"):
        best_positions(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), 1.2)


@pytest.mark.parametrize("criterion", ["attention", "nearest", "farthest", "random"])
def test_what_is_kept_stays_where_it_was(qwen, inputs, criterion):
    """D11 of the released code: what is read next comes at the true position, not at the length of what is left."""
    memory = qwen.prefill(PROMPTS)
    protected = memory.position_ids == 6
    kept = select_positions(qwen, memory, criterion, 0.25, protected=protected, inputs=inputs, seeds=[1, 2, 3])
    assert torch.equal(kept.next_position, memory.next_position)
    for row in range(3):
        positions = kept.position_ids[row, kept.attention_mask[row]].tolist()
        length = int(memory.lengths[row])
        assert positions == sorted(positions)
        assert positions[:SINKS] == list(range(min(SINKS, length))) and (length <= 6 or 6 in positions)
        free = max(0, length - SINKS - (length > 6))
        assert len(positions) == min(length, SINKS) + (length > 6) + -(-free // 4)
        for place, position in zip(kept.attention_mask[row].nonzero()[:, 0], positions, strict=True):
            before = int(((memory.position_ids[row] == position) & memory.attention_mask[row]).nonzero()[0])
            assert torch.equal(kept.keys[0][row, :, place], memory.keys[0][row, :, before])
    # Reading on is reading on with the dropped columns hidden, to the last bit of the arithmetic's tolerance.
    hidden = torch.zeros_like(memory.attention_mask)
    for row in range(3):
        for position in kept.position_ids[row, kept.attention_mask[row]]:
            hidden[row] |= (memory.position_ids[row] == position) & memory.attention_mask[row]
    masked = KVCache(**{**vars(memory), "attention_mask": hidden})
    one, other = (qwen.prefill(["so?"] * 3, m).hidden_states for m in (kept, masked))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
