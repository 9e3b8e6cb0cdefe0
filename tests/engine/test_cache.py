import dataclasses

import pytest
import torch

from interlat.engine.cache import CachedSequence, DonatedCache, KVCache, join_sequences
from interlat.errors import InputError


def make_memory(lengths, *, width=None, layers=2, start=0, seed=0):
    """Rows whose keys carry (row, position) so that every column can be recognised."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    mask = torch.arange(width)[None, :] >= width - torch.tensor(lengths)[:, None]
    positions = ((mask.cumsum(1) - 1).clamp(min=0) + start) * mask
    keys = torch.randn(len(lengths), 2, width, 3, generator=generator)
    keys[..., 0] = positions[:, None].float()
    keys[..., 1] = torch.arange(len(lengths))[:, None, None].float() + 10 * seed
    return KVCache(
        keys=tuple(keys + layer for layer in range(layers)),
        values=tuple(-keys - layer for layer in range(layers)),
        attention_mask=mask,
        position_ids=positions,
        segment_ids=torch.where(mask, 0, -1),
        segment_names=("prompt",),
        next_position=torch.tensor(lengths) + start,
        hidden_states=torch.randn(len(lengths), 4, generator=generator),
    )


def columns_of(memory, row):
    """What a row holds, whatever its padding: (position, key, value, segment name) in order."""
    kept = memory.attention_mask[row].nonzero().flatten().tolist()
    return [
        (
            int(memory.position_ids[row, c]),
            [k[row, :, c].tolist() for k in memory.keys],
            [v[row, :, c].tolist() for v in memory.values],
            memory.segment_names[memory.segment_ids[row, c]],
        )
        for c in kept
    ]


def test_select_reorders_repeats_and_drops_useless_columns():
    memory = make_memory([2, 5, 3])
    chosen = memory.select([2, 0, 2])
    assert len(chosen) == 3 and chosen.width == 3
    assert chosen.lengths.tolist() == [3, 2, 3] == chosen.next_position.tolist()
    for row, source in enumerate([2, 0, 2]):
        assert columns_of(chosen, row) == columns_of(memory, source)
        assert torch.equal(chosen.hidden_states[row], memory.hidden_states[source])


def test_select_nothing():
    empty = make_memory([2, 3]).select([])
    assert len(empty) == 0 and empty.width == 0


def test_select_names_a_row_that_is_not_there():
    with pytest.raises(InputError, match="2 sequences; use 0 to 1"):
        make_memory([1, 2]).select([2])


def test_trim_keeps_true_positions():
    memory = make_memory([4, 6], start=10)
    keep = memory.position_ids >= 12
    trimmed = memory.trim(keep)
    assert trimmed.width == 4 and trimmed.lengths.tolist() == [2, 4]
    assert [column[0] for column in columns_of(trimmed, 0)] == [12, 13]
    assert columns_of(trimmed, 1) == columns_of(memory, 1)[2:]
    assert trimmed.next_position.tolist() == [14, 16]


def test_trim_never_revives_padding():
    memory = make_memory([1, 3])
    assert memory.trim(torch.ones(2, 3, dtype=torch.bool)).lengths.tolist() == [1, 3]


def test_gather_takes_columns_row_by_row():
    memory = make_memory([3, 3])
    gathered = memory.gather(torch.tensor([[0, 2], [1, 1]]))
    assert gathered.position_ids.tolist() == [[0, 2], [1, 1]]
    assert columns_of(gathered, 0) == [columns_of(memory, 0)[0], columns_of(memory, 0)[2]]


def test_compact_closes_holes_in_order():
    memory = make_memory([6, 6])
    mask = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0]], dtype=torch.bool)
    compact = memory.trim(mask)
    assert compact.width == 4
    assert compact.position_ids.tolist() == [[0, 2, 3, 5], [0, 0, 0, 1]]
    assert compact.attention_mask.tolist() == [[True] * 4, [False, False, True, True]]
    assert compact.compact() is compact


def test_concat_pads_to_the_widest_and_merges_segment_names():
    first, second = make_memory([2, 1]), make_memory([4], start=5, seed=1)
    second = KVCache(**(vars(second) | {"segment_names": ("latents",)}))
    both = KVCache.concat([first, second])
    assert len(both) == 3 and both.width == 4
    assert columns_of(both, 0) == columns_of(first, 0)
    assert columns_of(both, 1) == columns_of(first, 1)
    assert columns_of(both, 2) == columns_of(second, 0)
    assert both.segment("latents").sum() == 4 and both.segment("prompt").sum() == 3
    assert both.next_position.tolist() == [2, 1, 9]


def test_concat_refuses_nothing_and_other_models():
    with pytest.raises(InputError, match="at least one"):
        KVCache.concat([])
    with pytest.raises(InputError, match="different models"):
        KVCache.concat([make_memory([1]), make_memory([1], layers=3)])


def test_segment_names_what_there_is():
    memory = make_memory([2, 1])
    assert memory.segment("prompt").tolist() == [[True, True], [False, True]]
    with pytest.raises(InputError, match="no segment 'plan'; it has prompt"):
        memory.segment("plan")


def test_bytes():
    assert make_memory([2, 3]).nbytes == 2 * 2 * (2 * 2 * 3 * 3) * 4


def test_merge_puts_columns_side_by_side_at_their_true_positions():
    memories = [make_memory([2, 4], seed=1), make_memory([3, 1], start=5, seed=2)]
    memories[1] = dataclasses.replace(memories[1], segment_names=("another",))
    merged = KVCache.merge(memories)
    assert merged.lengths.tolist() == [5, 5] and merged.width == 5
    assert merged.next_position.tolist() == [8, 6]
    assert torch.equal(merged.hidden_states, memories[1].hidden_states)
    for row in range(2):
        assert columns_of(merged, row) == columns_of(memories[0], row) + columns_of(memories[1], row)


def test_merge_keeps_what_all_begin_with_once():
    question = make_memory([2, 3])
    experts = []
    for seed in (1, 2):
        grown = make_memory([5, 5], seed=seed)
        # The first columns of each row are those of the question.
        for row, length in enumerate((2, 3)):
            for mine, theirs in zip((*grown.keys, *grown.values), (*question.keys, *question.values), strict=True):
                mine[row, :, :length] = theirs[row, :, 3 - length :]
            grown.segment_ids[row, length:] = 1
        experts.append(dataclasses.replace(grown, segment_names=("prompt", f"expert {seed}")))
    merged = KVCache.merge(experts)
    assert merged.lengths.tolist() == [2 + 3 + 3, 3 + 2 + 2] and merged.next_position.tolist() == [5, 5]
    assert merged.segment_names == ("prompt", "expert 1", "expert 2")
    for row, length in enumerate((2, 3)):
        expected = columns_of(experts[0], row) + columns_of(experts[1], row)[length:]
        assert columns_of(merged, row) == expected


def test_memories_that_cannot_be_merged_are_refused():
    with pytest.raises(InputError, match=r"caches of \[2, 1\] sequences"):
        KVCache.merge([make_memory([1, 2]), make_memory([3])])
    with pytest.raises(InputError, match="different models"):
        KVCache.merge([make_memory([1]), make_memory([1], layers=3)])
    with pytest.raises(InputError, match="at least one"):
        KVCache.merge([])


def seen(memory, row):
    """For each column that a row holds, by position and content, the layers that see it."""
    layers = memory.layer_mask[row] if memory.layer_mask is not None else torch.ones(2, memory.width, dtype=torch.bool)
    kept = memory.attention_mask[row].nonzero().flatten().tolist()
    return {
        (int(memory.position_ids[row, c]), float(memory.hidden_states[row, 0])): layers[:, c].tolist() for c in kept
    }


def test_only_layers_hides_and_clears_the_others():
    memory = make_memory([2, 5])
    second = memory.only_layers([2])
    assert all(layers == [False, True] for row in range(2) for layers in seen(second, row).values())
    assert not second.keys[0].any() and not second.values[0].any()
    assert torch.equal(second.keys[1], memory.keys[1]) and torch.equal(second.values[1], memory.values[1])
    none = second.only_layers([1])
    assert not none.layer_mask.any()
    with pytest.raises(InputError, match="layer 3 asked of a cache of 2 layers; use 1 to 2"):
        memory.only_layers([1, 3])


def test_layers_go_with_their_columns():
    """Through everything that moves, drops and joins columns."""
    first, second = make_memory([2, 5, 3]), make_memory([4, 1, 3], seed=1)
    half = first.only_layers([1])
    chosen = half.select([2, 0])
    assert [seen(chosen, 0), seen(chosen, 1)] == [seen(half, 2), seen(half, 0)]
    assert seen(half.trim(half.position_ids > 0), 1) == {k: v for k, v in seen(half, 1).items() if k[0] > 0}
    joined = KVCache.concat([half, second])
    assert [seen(joined, row) for row in range(6)] == [seen(m, row) for m in (half, second) for row in range(3)]
    other = dataclasses.replace(second, segment_names=("other",), hidden_states=second.hidden_states + 1)
    merged = KVCache.merge([half, other])
    for row in range(3):
        columns = columns_of(merged, row)
        held = merged.attention_mask[row].nonzero().flatten().tolist()
        for column, (_, _, _, name) in zip(held, columns, strict=True):
            assert merged.layer_mask[row, :, column].tolist() == ([True, False] if name == "prompt" else [True, True])
    assert KVCache.concat([first, second]).layer_mask is None and KVCache.merge([first, other]).layer_mask is None


def test_compact_positions_are_those_that_compact_gathers():
    memory = make_memory([2, 4], width=6)
    columns = memory.compact_positions()
    assert columns.shape == (2, 4)
    assert torch.equal(memory.gather(columns).keys[0], memory.compact().keys[0])
    assert memory.compact().compact_positions() is None


def test_a_moved_memory_is_taken_once():
    memory = make_memory([2, 3])
    moved = DonatedCache(memory)
    assert moved.cache is memory and moved.take() is memory
    with pytest.raises(InputError, match="was donated to a reader"):
        moved.take()
    with pytest.raises(InputError, match="was donated to a reader"):
        _ = moved.cache


def test_rows_of_memories_are_joined():
    first, second = make_memory([2, 4, 3]), make_memory([5, 1], seed=1)
    assert join_sequences([CachedSequence(first, row) for row in range(3)]) is first
    assert CachedSequence(first, 1).next_position == 4
    for rows in (
        [(first, 0), (first, 1)],
        [(first, 2), (first, 0), (first, 1)],
        [(second, 1), (first, 2), (second, 0)],
    ):
        joined = join_sequences([CachedSequence(memory, row) for memory, row in rows])
        assert len(joined) == len(rows)
        for place, (memory, row) in enumerate(rows):
            assert columns_of(joined, place) == columns_of(memory, row)
    with pytest.raises(InputError, match="no caches"):
        join_sequences([])


def test_one_memory_merged_is_that_memory_compact():
    memory = make_memory([2, 4], width=6)
    merged = KVCache.merge([memory])
    assert merged.width == 4 and [columns_of(merged, row) for row in (0, 1)] == [columns_of(memory, r) for r in (0, 1)]
    assert KVCache.merge([merged]) is merged
