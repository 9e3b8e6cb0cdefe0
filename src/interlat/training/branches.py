"""The branches of a sample: the own message, another task's message, the plan in words; and how their losses weigh."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interlat.training.examples import IGNORED, Example, Message, Mixed
from interlat.training.negatives import as_long_as
from interlat.training.options import WEIGHT_FLOOR as WEIGHT_FLOOR
from interlat.training.options import BranchWeights as BranchWeights

ALIGNMENT_SCALE = 4.0


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

    @classmethod
    def of(cls, branches: Sequence[Branch], reading_weight: float = 0.0) -> "Totals":
        """The totals of some samples."""
        weight = sum(_label_weight(branch, reading_weight) for branch in branches)
        return cls(weight, sum(branch.is_latent for branch in branches))


def _label_weight(branch: Branch, reading_weight: float) -> float:
    example = branch.example
    total = example.label_weight
    if reading_weight:
        words = branch.own.words if isinstance(branch.own, Mixed) else branch.own
        read = len(example.before) - 1 + len(() if words is None else words) + example.labels.count(IGNORED)
        total += reading_weight * read
    return total


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
