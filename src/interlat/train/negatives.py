"""Messages of other tasks, to be told apart from the own one."""

import random
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError


class Negatives:
    """Draws, for a sample, another one of another task, from all that there are.

    Not only from the batch, where samples of similar length meet and a small one may hold a single task; and every
    rank can draw by itself, since stored messages are mapped into memory.

    Args:
        tasks: task of each sample; samples of one task are no negatives of each other.

    Raises:
        InputError: all samples are of one task.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)
        if len(set(self.tasks)) < 2:
            raise InputError("all samples are of one task, so there is no message of another one; give more tasks")

    def of(self, sample: int, rng: random.Random) -> int:
        """The number of a sample of another task, each of them as likely."""
        while True:
            other = rng.randrange(len(self.tasks))
            if self.tasks[other] != self.tasks[sample]:
                return other


def as_long_as(message: Float[Tensor, "K D"], rows: int) -> Float[Tensor, "{rows} D"]:
    """A message cut or repeated to ``rows`` rows, so that length alone tells nothing."""
    repeats = -(-rows // len(message))
    return message.repeat(repeats, 1)[:rows]
