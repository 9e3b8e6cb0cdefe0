"""Which examples each step of a training takes."""

import random
from collections.abc import Sequence

from interlat.store.batches import length_sorted_batches
from interlat.training.examples import Example


class Order:
    """Batches of ``batch_size`` examples of similar length, in a new order every epoch."""

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self.examples = examples
        self.lengths = [len(example.before) + len(example.after) for example in examples]
        self.size = batch_size
        self.seed = seed
        self.epoch = -1
        self.batches: list[list[int]] = []

    def of(self, step: int) -> list[Example]:
        """The examples of a step, always ``batch_size`` of them: a short batch is filled up with others at random."""
        per_epoch = -(-len(self.examples) // self.size)
        epoch = step // per_epoch
        if epoch != self.epoch:
            name = f"actor/{self.seed}/{epoch}"
            self.epoch, self.batches = epoch, length_sorted_batches(self.lengths, self.size, name)
        numbers = self.batches[step % per_epoch]
        missing = self.size - len(numbers)
        fill = random.Random(f"fill/{self.seed}/{step}").choices(range(len(self.examples)), k=missing)
        return [self.examples[number] for number in [*numbers, *fill]]
