"""The branches of a sample: the own message, another task's message, the plan in words; and how their losses weigh."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError
from interlat.training.divergences import LN2
from interlat.training.examples import IGNORED, Example, Message, Mixed
from interlat.training.negatives import as_long_as

WEIGHT_FLOOR = 0.01
ALIGNMENT_SCALE = 4.0


@dataclass(frozen=True)
class BranchWeights:
    """``L = L_task + w_S L_sep + w_A L_align`` (Interlat, arXiv 2511.09149); weights of 0 leave a loss out."""

    separation: float = 0.0
    """w_S: the reply under the own message must differ from that under another task's."""
    alignment: float = 0.0
    """w_A: the reply under the own message must be like that under the plan in words."""
    adaptive: bool = False
    """Let each weight follow its loss: ``0.01 + (w - 0.01) min(1, L / scale)`` for each sample, where the scale is the
    margin for L_sep and 4 nats for L_align, as published; here no gradient flows through the weights, and a sample's
    weight does not depend on the others."""
    margin: float = 0.69
    """Divergence in nats that is enough; at most ln 2."""
    kl_share: float = 0.7
    """Share of the divergence in L_align, the rest is the cosine's."""

    def __post_init__(self) -> None:
        if self.separation < 0 or self.alignment < 0:
            raise InputError("separation and alignment are weights; give 0 or more")
        if not 0 < self.margin <= LN2 or not 0 <= self.kl_share <= 1:
            raise InputError(f"give a margin above 0 and at most ln 2 = {LN2:.4f}, and a kl_share from 0 to 1")

    @classmethod
    def published(cls) -> "BranchWeights":
        """The weights of the released code: 0.01 to 0.5 for separation, 0.01 to 0.05 for alignment, adaptive."""
        return cls(separation=0.5, alignment=0.05, adaptive=True)

    def weighted(self, weight: float, losses: Float[Tensor, "S"], scale: float) -> Float[Tensor, "S"]:
        """The losses of some samples times the weight that each of them gets."""
        if not self.adaptive:
            return weight * losses
        return (WEIGHT_FLOOR + (weight - WEIGHT_FLOOR) * (losses.detach() / scale).clamp_max(1.0)) * losses


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
