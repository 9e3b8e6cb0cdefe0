import pytest
import torch
from torch.utils.data import DataLoader

from interlat.errors import InputError
from interlat.store.batches import LengthBatches, collate_thoughts, length_sorted_batches


def test_batches_of_an_epoch_hold_each_example_once_and_are_sorted_by_length():
    lengths = [(7 * i) % 50 for i in range(103)]
    batches = length_sorted_batches(lengths, 8, "x")
    assert sorted(i for batch in batches for i in batch) == list(range(103))
    assert batches == length_sorted_batches(lengths, 8, "x") != length_sorted_batches(lengths, 8, "y")
    spread = sum(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches) / len(batches)
    assert spread < 10


def test_a_data_loader_gives_every_thought_once_padded_with_zeros(make_store, rows_of):
    store = make_store(20)
    batches = LengthBatches(store.lengths, 4, seed=1)
    loader = DataLoader(store, batch_sampler=batches, collate_fn=collate_thoughts)
    seen = []
    for batch in loader:
        for entry, rows, mask in zip(batch.entries, batch.hidden_states, batch.mask, strict=True):
            expected = rows_of(entry.order)
            assert torch.equal(rows[mask], expected) and int(mask.sum()) == len(expected)
            assert not rows[~mask].any()
            seen.append(entry.order)
    assert sorted(seen) == list(range(20)) and len(loader) == 5


def test_worker_processes_read_the_same(make_store):
    store = make_store(12)
    store.hidden_states(0)
    loaders = [
        DataLoader(
            store,
            batch_sampler=LengthBatches(store.lengths, 4),
            collate_fn=collate_thoughts,
            num_workers=workers,
        )
        for workers in (0, 1)
    ]
    for one, other in zip(*loaders, strict=True):
        assert [e.id for e in one.entries] == [e.id for e in other.entries]
        assert torch.equal(one.hidden_states, other.hidden_states)


def test_ranks_share_an_epoch_without_overlap():
    lengths = [(5 * i) % 23 for i in range(50)]
    ranks = [LengthBatches(lengths, 4, seed=3, rank=rank, world_size=3) for rank in range(3)]
    for sampler in ranks:
        sampler.set_epoch(2)
    shares = [list(sampler) for sampler in ranks]
    assert [len(share) for share in shares] == [4, 4, 4] == [len(sampler) for sampler in ranks]
    everything = [index for share in shares for batch in share for index in batch]
    assert len(everything) == len(set(everything)) >= 46
    first = list(ranks[0])
    ranks[0].set_epoch(3)
    assert list(ranks[0]) != first


@pytest.mark.parametrize("size, rank, world", [(0, 0, 1), (4, 1, 1), (4, -1, 2)])
def test_nonsense_is_refused(size, rank, world):
    with pytest.raises(InputError, match="batch size"):
        LengthBatches([1, 2], size, rank=rank, world_size=world)
