import dataclasses
import mmap
import weakref

import pytest
import torch

from interlat.engine.buffer import KeyValueBuffer, as_transformers_cache, zeros
from interlat.engine.cache import DonatedCache, KVCache


def test_written_columns_come_back_and_room_is_zero():
    buffer = KeyValueBuffer(5)
    first = torch.randn(2, 1, 2, 3)
    keys, values = buffer.write(0, first, -first)
    assert torch.equal(keys, first) and torch.equal(values, -first)
    assert buffer.length == 0
    buffer.advance(2)
    second = torch.randn(2, 1, 1, 3)
    keys, _ = buffer.write(0, second, -second)
    assert torch.equal(keys, torch.cat([first, second], dim=2))
    assert buffer.keys[0][:, :, 3:].abs().sum() == 0
    assert buffer.contents()[0][0].shape == (2, 1, 2, 3)


def test_rows_leave_and_come_home():
    home = KeyValueBuffer(4)
    start = torch.randn(3, 1, 2, 2)
    home.write(0, start, start)
    home.advance(2)
    away = home.select_sequences(torch.tensor([2, 0]))
    new = torch.randn(2, 1, 1, 2)
    away.write(0, new, new)
    away.advance(1)
    home.store_sequences(torch.tensor([2, 0]), away, 2)
    assert home.length == 3
    assert torch.equal(home.keys[0][[2, 0], :, 2], new[:, :, 0])
    assert home.keys[0][1, :, 2].abs().sum() == 0
    assert torch.equal(home.keys[0][:, :, :2], start)


def test_transformers_sees_a_cache():
    buffer = KeyValueBuffer(4)
    cache = as_transformers_cache(buffer, 1)
    states = torch.randn(1, 1, 3, 2)
    assert cache.get_seq_length() == 0 and cache.get_mask_sizes(3, 0) == (3, 0)
    keys, _ = cache.update(states, states, 0)
    assert torch.equal(keys, states)
    buffer.advance(3)
    assert cache.get_seq_length() == 3 and cache.get_max_length() == 4


def ragged_memory(layers=4):
    """Two rows, the second shorter by two columns and with a hole between the others."""
    mask = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 0, 0, 1]], dtype=torch.bool)
    keys = tuple(torch.randn(2, 2, 5, 3) for _ in range(layers))
    return KVCache(
        keys=keys,
        values=tuple(-k for k in keys),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1) * mask,
        segment_ids=torch.where(mask, 0, -1),
        segment_names=("prompt",),
        next_position=mask.sum(1),
        hidden_states=torch.zeros(2, 4),
    )


def test_what_continues_a_memory_holds_it_compact_and_has_room():
    memory = ragged_memory()
    buffer, rest = KeyValueBuffer.continuing(DonatedCache(memory), 3)
    compact = memory.compact()
    assert (buffer.length, buffer.capacity, rest.width, rest.keys) == (4, 7, 4, ())
    assert torch.equal(rest.position_ids, compact.position_ids)
    for ours, wanted in zip([*buffer.keys, *buffer.values], [*compact.keys, *compact.values], strict=True):
        assert torch.equal(ours[:, :, :4], wanted) and not ours[:, :, 4:].any()


@pytest.mark.parametrize("holes", [True, False])
def test_a_moved_memory_is_let_go_layer_by_layer(monkeypatch, holes):
    moved = DonatedCache(ragged_memory() if holes else ragged_memory().compact())
    layers = [weakref.ref(layer) for layer in (*moved.cache.keys, *moved.cache.values)]
    alive = []

    def watched(shape, like):
        alive.append(sum(layer() is not None for layer in layers))
        return zeros(shape, like)

    monkeypatch.setattr("interlat.engine.buffer.zeros", watched)
    KeyValueBuffer.continuing(moved, 1)
    assert alive == [8 - n for n in range(8)]
    assert not any(layer() is not None for layer in layers)


def test_a_memory_that_somebody_holds_stays_as_it_is():
    memory = ragged_memory().compact()
    before = [layer.clone() for layer in memory.keys]
    buffer, _ = KeyValueBuffer.continuing(DonatedCache(memory), 2)
    buffer.keys[0].fill_(7)
    assert all(torch.equal(layer, old) for layer, old in zip(memory.keys, before, strict=True))


def held(cache, sequence):
    """What one sequence holds in every layer, one position behind another, without holes."""
    layers = [*cache.keys, *cache.values]
    return [
        torch.stack([layer[sequence, :, t] for t in range(cache.width) if cache.attention_mask[sequence, t]])
        for layer in layers
    ]


@pytest.mark.parametrize("sequences", [[0, 1], [1], [1, 0, 1]])
@pytest.mark.parametrize("kind", ["holes", "compact", "views", "other strides", "holes behind a full sequence"])
def test_sequences_selected_with_room_hold_what_they_held_and_are_continued_in_place(sequences, kind):
    memory = ragged_memory(layers=2)
    if kind == "compact":
        memory = memory.compact()
    elif kind == "holes behind a full sequence":
        memory = dataclasses.replace(memory, attention_mask=memory.attention_mask | torch.tensor([[True], [False]]))
    elif kind == "views":
        buffer, rest = KeyValueBuffer.continuing(memory, 3)
        keys, values = buffer.contents()
        memory = dataclasses.replace(rest, keys=keys, values=values, spare=buffer)
    elif kind == "other strides":
        keys = tuple(torch.randn(2, 5, 7, 2).permute(0, 3, 1, 2)[..., 2:5] for _ in range(2))
        memory = dataclasses.replace(memory, keys=keys, values=tuple(k.flip(2) for k in keys))
    before = [layer.clone() for layer in (*memory.keys, *memory.values)]
    selected, plain = KeyValueBuffer.selecting(memory, sequences, 2), memory.select(sequences)
    for name in ("attention_mask", "position_ids", "segment_ids", "next_position", "hidden_states"):
        assert torch.equal(getattr(selected, name), getattr(plain, name)), name
    for row, sequence in enumerate(sequences):
        for mine, theirs in zip(held(selected, row), held(memory, sequence), strict=True):
            assert torch.equal(mine, theirs)
    buffer = selected.spare
    assert continued(selected, 2) is buffer and not any(k[:, :, selected.width :].any() for k in buffer.keys)
    buffer.keys[0].fill_(7)
    assert all(torch.equal(a, b) for a, b in zip((*memory.keys, *memory.values), before, strict=True))


def test_what_holds_nothing_is_selected_with_room():
    nothing = ragged_memory(layers=1).trim(torch.zeros(2, 5, dtype=torch.bool))
    selected = KeyValueBuffer.selecting(nothing, [1], 2)
    assert selected.width == 0 and selected.spare.keys[0].shape == (1, 2, 2, 3) and not selected.spare.keys[0].any()


def memory_with_spare(positions=3):
    """A memory without holes and as many spare positions behind it."""
    memory = ragged_memory(layers=2).select([0])
    buffer, rest = KeyValueBuffer.continuing(DonatedCache(memory), positions)
    keys, values = buffer.contents()
    return dataclasses.replace(rest, keys=keys, values=values, spare=buffer), buffer


def continued(memory, columns):
    return KeyValueBuffer.continuing(memory, columns)[0]


def test_spare_capacity_is_used_once_and_what_the_first_memory_shows_stays():
    memory, buffer = memory_with_spare()
    shown = [layer.clone() for layer in (*memory.keys, *memory.values)]
    first = continued(memory, 3)
    assert first is buffer and (first.capacity, first.length) == (7, 4)
    new = torch.randn(1, 2, 2, 3)
    for layer in range(2):
        first.write(layer, new, new)
    first.advance(2)
    second = continued(memory, 3)
    assert second is not buffer and (second.capacity, second.length) == (7, 4)
    for mine, theirs in zip([*second.keys, *second.values], shown, strict=True):
        assert torch.equal(mine[:, :, :4], theirs) and not mine[:, :, 4:].any()
    assert all(torch.equal(a, b) for a, b in zip((*memory.keys, *memory.values), shown, strict=True))


def test_what_a_buffer_grew_to_has_its_new_positions_under_their_name():
    memory, _ = memory_with_spare(2)
    buffer, before = KeyValueBuffer.continuing(memory, 1)
    states, origin = torch.ones(1, 4), object()
    for layer in range(2):
        buffer.write(layer, torch.ones(1, 2, 1, 3), torch.ones(1, 2, 1, 3))
    buffer.advance(1)
    grown = buffer.grown(before, torch.ones(1, 1, dtype=torch.bool), "latents", states, origin)
    assert grown.segment_names == ("prompt", "latents") and grown.segment("latents").tolist() == [[False] * 4 + [True]]
    assert grown.position_ids.tolist() == [[0, 1, 2, 3, 4]] and grown.next_position.tolist() == [5]
    assert grown.spare is buffer and grown.hidden_states is states and grown.origin is origin
    buffer.advance(1)
    assert buffer.grown(before, torch.ones(1, 2, dtype=torch.bool), "prompt", states, origin).spare is None


@pytest.mark.parametrize(("dtype", "count"), [(torch.float32, 5), (torch.bfloat16, 5), (torch.float32, 2**19)])
def test_large_and_small_layers_are_zero_and_can_be_written(dtype, count):
    like = torch.ones(1, dtype=dtype)
    made = zeros((1, 1, count, 2), like)
    assert made.dtype == dtype and made.shape == (1, 1, count, 2) and not made.any()
    made += 1
    assert not zeros((1, 1, count, 2), like).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda memory: dataclasses.replace(memory, keys=tuple(2 * k for k in memory.keys)),
        lambda memory: dataclasses.replace(memory, values=tuple(2 * v for v in memory.values)),
        lambda memory: dataclasses.replace(memory, attention_mask=memory.attention_mask & (memory.position_ids != 1)),
        lambda memory: memory.trim(memory.position_ids != 1),
        lambda memory: memory.select([0, 0]),
        lambda memory: memory.only_layers([1]),
        lambda memory: memory.gather(torch.tensor([[0, 2, 1, 3]])),
    ],
    ids=["other keys", "other values", "a hole", "trim", "select", "layers", "order"],
)
def test_spare_capacity_belongs_to_the_very_positions(change):
    """A changed memory is copied, and the spare capacity stays for the memory that has it."""
    memory, buffer = memory_with_spare()
    changed = change(memory)
    copied = continued(changed, 2)
    assert copied.length == changed.lengths.max()
    wanted = changed.compact()
    for mine, theirs in zip([*copied.keys, *copied.values], [*wanted.keys, *wanted.values], strict=True):
        assert torch.equal(mine[:, :, : copied.length], theirs)
    assert copied is not buffer and continued(memory, 4) is not buffer
    assert continued(memory, 3) is buffer


def test_a_kernel_without_large_pages_gives_small_ones(monkeypatch):
    asked = []

    class Pages(mmap.mmap):
        def madvise(self, option):
            asked.append(option)
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Pages)
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 14, raising=False)
    layer = zeros((1, 2, 1024, 256), torch.zeros(1))
    assert asked == [14] and layer.shape == (1, 2, 1024, 256) and not layer.any()
