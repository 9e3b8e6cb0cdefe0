"""Batches of a store for `torch.utils.data.DataLoader`. The store itself is the data set. Batches hold thoughts of
similar length, are padded, and come in an order that depends on a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.data import Sampler

from interlat.errors import InputError
from interlat.store.index import Entry
from interlat.store.reading import Thought

BATCHES_OF_A_CHUNK = 16


@dataclass(frozen=True, eq=False)
class ThoughtBatch:
    """A padded batch of thoughts."""

    entries: tuple[Entry, ...]
    hidden_states: Float[Tensor, "B T *row_shape"]
    """Hidden states, with zeros after the shorter thoughts."""
    mask: Bool[Tensor, "B T"]
    """True for real latents, False for padding."""


def collate_thoughts(thoughts: Sequence[Thought]) -> ThoughtBatch:
    """Make a batch of thoughts, padded on the right to the longest."""
    lengths = torch.tensor([len(thought.hidden_states) for thought in thoughts])
    padded = nn.utils.rnn.pad_sequence([thought.hidden_states for thought in thoughts], batch_first=True)
    mask = torch.arange(padded.shape[1])[None, :] < lengths[:, None]
    return ThoughtBatch(tuple(thought.entry for thought in thoughts), padded, mask)


def length_sorted_batches(lengths: Sequence[int], batch_size: int, seed: str) -> list[list[int]]:
    """One epoch of batches of similar length, in random order: sorted inside random chunks of 16 batches."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    chunk = BATCHES_OF_A_CHUNK * batch_size
    batches = []
    for start in range(0, len(order), chunk):
        ordered = sorted(order[start : start + chunk], key=lambda index: lengths[index])
        batches += [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    rng.shuffle(batches)
    return batches


class LengthBatches(Sampler[list[int]]):
    """Batches of thoughts of similar length, in a new order every epoch (`set_epoch`), the same for the same seed.

    Args:
        lengths: length of every thought.
        batch_size: number of thoughts in a batch of one rank.
        seed: decides the order together with the epoch.
        rank, world_size: this process and the number of processes. Every rank gets the same number of batches. If the
            batches do not divide evenly, the last ones are left out for this epoch.

    Raises:
        InputError: ``batch_size`` is below 1, or ``rank`` is not one of the ranks.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise InputError(
                f"batch size {batch_size}, rank {rank} of {world_size}; expected a size of at least 1 and a rank below "
                "the number of ranks"
            )
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that decides the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-len(self.lengths) // self.batch_size)
        return batches // self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        batches = length_sorted_batches(self.lengths, self.batch_size, f"thoughts/{self.seed}/{self.epoch}")
        yield from batches[self.rank : len(self) * self.world_size : self.world_size]
