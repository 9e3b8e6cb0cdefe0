"""Losses on examples held out, pass by pass and shared out to ranks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from interlat.engine.distributed import Ranks
from interlat.training.loop import in_parts

VALIDATION_PASS = 32
"""Examples in one pass of a validation."""

Sample = TypeVar("Sample")


def mean_losses(
    objective: Callable[[Sequence[Sample], Any], tuple[Tensor, Mapping[str, Tensor]]],
    samples: Sequence[Sample],
    totals: Any,
    ranks: Ranks,
    size: int = VALIDATION_PASS,
) -> dict[str, float]:
    """The sums of the shares of some samples in the losses; each rank takes some of the passes.

    Args:
        objective: from samples and totals to their share in the loss, and to that in each of its parts.
        samples: all of them, on every rank.
        totals: of all of them.
        ranks: the processes that take part.
        size: samples in one pass.

    Returns:
        "loss", and the parts by their names.
    """
    passes = list(in_parts(samples, size))
    sums: dict[str, float] = {}
    for first in range(0, len(passes), ranks.world_size):
        number = first + ranks.rank
        # All ranks of a sharded model must run it equally often.
        loss, parts = objective(passes[min(number, len(passes) - 1)], totals)
        for name, share in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, 0.0) + (share.item() if number < len(passes) else 0.0)
    return ranks.sum(sums)


def mean_loss(
    objective: Callable[[Sequence[Sample], Any], tuple[Tensor, Any]],
    samples: Sequence[Sample],
    totals: Any,
    ranks: Ranks,
) -> float:
    """The loss of `mean_losses` alone."""

    def alone(part: Sequence[Sample], totals: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return objective(part, totals)[0], {}

    return mean_losses(alone, samples, totals, ranks)["loss"]
