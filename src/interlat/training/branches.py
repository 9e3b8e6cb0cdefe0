"""The branches of a sample: the own message, another task's message, the plan in words."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError
from interlat.training.examples import IGNORED, Example, Message, Mixed


@dataclass(frozen=True, eq=False)
class Branch:
    """One sample with its messages."""

    example: Example
    """The conversation."""
    own: Message
    """What it reads; the other branches exist only where this is latent."""
    other: Mixed | None = None
    """Another task's message in the same shape, see `other_message`."""
    plan: tuple[int, ...] = ()
    """The plan in words, as token ids."""

    @property
    def is_latent(self) -> bool:
        """Whether latent rows are read."""
        return isinstance(self.own, Mixed) and self.own.taken > 0


@dataclass(frozen=True)
class Totals:
    """What the losses of a whole step are divided by, however it is cut into passes and shared out to ranks."""

    weight: float
    """Sum of the weights of all labels."""
    latent: int
    """Samples whose message is latent."""
    reading_weight: float = 0.0
    """See `interlat.training.examples.collate`."""

    @classmethod
    def of(cls, branches: Sequence[Branch], reading_weight: float = 0.0) -> "Totals":
        """The totals of some samples."""
        weight = 0.0
        for branch in branches:
            example, words = branch.example, branch.own.words if isinstance(branch.own, Mixed) else branch.own
            read = len(example.before) - 1 + len(() if words is None else words) + example.labels.count(IGNORED)
            weight += example.label_weight + reading_weight * read
        return cls(weight, sum(branch.is_latent for branch in branches), reading_weight)


def other_message(own: Mixed, rows: Float[Tensor, "K D"], plan: Sequence[int] = ()) -> Mixed:
    """Another task's message in the shape of the own one, so that length alone tells nothing.

    Its words are the end of the other task's plan: the published code keeps the right plan there, so that its negative
    is right in part (up to nine tenths).

    Args:
        own: the own message.
        rows: the other task's latent message; cut or repeated to as many rows.
        plan: the other task's plan, needed if the own message has words.
    """
    count = len(own.words)
    words = tuple(plan) * -(-count // max(1, len(plan))) if count else ()
    return Mixed(as_long_as(rows, len(own.rows)), own.taken, words[len(words) - count :])


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
