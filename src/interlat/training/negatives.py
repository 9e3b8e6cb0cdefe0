"""Messages of other tasks, to be told apart from the own one."""

import random
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError


class Negatives:
    """Draws, for an item, another one of another task, from all that there are.

    Not only from the batch, where samples of similar length meet and a small one may hold a single task; and every
    rank can draw by itself, since stored messages are mapped into memory.

    Args:
        items: what is drawn from.
        task_of: task of each item; items of one task are no negatives of each other.

    Raises:
        InputError: all items are of one task.
    """

    def __init__(self, items: Sequence[str], task_of: Mapping[str, str]) -> None:
        self.items = list(items)
        self.task_of = task_of
        if len({task_of[item] for item in self.items}) < 2:
            raise InputError("all samples are of one task, so there is no message of another one; give more tasks")

    def of(self, item: str, rng: random.Random) -> str:
        """An item of another task, each of them as likely."""
        while True:
            other = rng.choice(self.items)
            if self.task_of[other] != self.task_of[item]:
                return other


def as_long_as(message: Float[Tensor, "K D"], rows: int) -> Float[Tensor, "{rows} D"]:
    """A message cut or repeated to ``rows`` rows, so that length alone tells nothing."""
    repeats = -(-rows // len(message))
    return message.repeat(repeats, 1)[:rows]
