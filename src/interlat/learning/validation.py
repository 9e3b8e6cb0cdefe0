"""The loss on examples held out, pass by pass and shared out to ranks."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

from interlat.engine.ranks import Ranks
from interlat.learning.loop import in_parts

VALIDATION_PASS = 32
"""Examples in one pass of a validation."""

Sample = TypeVar("Sample")


def mean_loss(
    objective: Callable[[Sequence[Sample], Any], tuple[Tensor, Any]],
    samples: Sequence[Sample],
    totals: Any,
    ranks: Ranks,
) -> float:
    """The sum of the shares of some samples in a loss; each rank takes some of the passes.

    Args:
        objective: from samples and totals to their share in the loss.
        samples: all of them, on every rank.
        totals: of all of them.
        ranks: the processes that take part.
    """
    passes = list(in_parts(samples, VALIDATION_PASS))
    total = 0.0
    for first in range(0, len(passes), ranks.world_size):
        number = first + ranks.rank
        # All ranks of a sharded model must run it equally often.
        loss, _ = objective(passes[min(number, len(passes) - 1)], totals)
        total += loss.item() if number < len(passes) else 0.0
    return ranks.sum({"loss": total})["loss"]
