"""A training step of the actor against the published shape of the step: three padded passes with all logits.

Each side runs in a process of its own (`benchmarks.train_step_play`) on the same random model and the same samples.
The losses of both are compared after every step; all but the first come after updates, and agree only where the
gradients do.

Logits of all positions in float32 need 5 GB a pass at the full shape, and the published step holds nearly six such
tensors. Where that does not fit, the published side takes the step in several passes whose losses and gradients add up
to those of the whole batch: as long as one pass, and less memory than one would need.
"""

import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.processes import run_side
from benchmarks.records import comparison
from interlat.errors import BenchmarkError

METRICS = {"step_seconds": ("s", "seconds"), "peak_memory": ("bytes", "memory")}
"""Metric -> its unit and what `benchmarks.train_step_play` calls it. Seconds are the median of some steps (forward,
backward, AdamW); peak memory is above the loaded model, so gradients and moments count."""
TOLERANCE = 1e-4
"""How far the loss values of the two sides may be apart: nats for losses up to 1, above that a share of the loss."""
HELD_LOGITS = 5.7
"""Peak memory of the published step, in tensors of all logits of one pass: three passes, the log-probabilities of the
own one, what the divergences keep. Measured at a batch of 1."""
SPARE = 2 * 2**30
"""Bytes of memory beside that: the process, the model, its gradients and moments, and some for the system."""


@dataclass(frozen=True)
class Shape:
    """How large a step is."""

    vocabulary: int
    """V."""
    batch: int
    """B."""
    padded: int
    """T of the published passes."""
    real: int
    """Tokens and latent rows of a sample, on average."""
    supervised: int
    """Tokens to learn of a sample."""
    hidden_size: int = 256
    """D of model and messages."""

    def __str__(self) -> str:
        return (
            f"vocabulary {self.vocabulary:,}, batch {self.batch}, {self.padded:,} tokens padded, ~{self.real} real, "
            f"{self.supervised} supervised of each sample"
        )


SHAPES = {True: Shape(32_768, 2, 512, 225, 50), False: Shape(151_936, 4, 2048, 900, 200)}
"""The smaller one has half the batch, a quarter of the tokens of a sample and about a fifth of the vocabulary."""


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one record a metric; smaller is always better.

    Raises:
        BenchmarkError: a side failed, or the losses of the two differ.
    """
    shape = SHAPES[quick]
    size = fitting_pass(shape, available_memory())
    ours, published = _play("ours", shape, shape.batch), _play("published", shape, size)
    check_losses(ours["losses"], published["losses"])
    case = f"{'smaller shape: ' if quick else ''}{shape}"
    if size < shape.batch:
        case += f"; the published side in passes of {size}, for want of memory"
    for metric, (unit, name) in METRICS.items():
        yield comparison("train-step", case, metric, unit, ours[name], published[name], larger_is_better=False)


def fitting_pass(shape: Shape, memory: int) -> int:
    """The most samples, a divisor of the batch, with which a published pass should fit into ``memory`` bytes.

    ``HELD_LOGITS * 4 B T V + SPARE``; 1 where none does.
    """
    one = HELD_LOGITS * 4 * shape.padded * shape.vocabulary
    divisors = [size for size in range(1, shape.batch + 1) if shape.batch % size == 0]
    return max([size for size in divisors if size * one + SPARE <= memory], default=1)


def available_memory() -> int:
    """Bytes that a new process can have: of the accelerator, or of the machine; without Linux all that it has."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_losses(ours: list[dict[str, float]], published: list[dict[str, float]]) -> None:
    """Compare the losses of each step, by name.

    Raises:
        BenchmarkError: other losses on one side, or values further apart than `TOLERANCE`.
    """
    for number, (mine, theirs) in enumerate(zip(ours, published, strict=True), 1):
        if mine.keys() != theirs.keys():
            raise BenchmarkError(f"the two sides have the losses {sorted(mine)} and {sorted(theirs)}; report this")
        for name, value in mine.items():
            # Not `>`: a loss that is not a number is no agreement.
            if not abs(value - theirs[name]) <= TOLERANCE * max(1.0, abs(value)):
                raise BenchmarkError(
                    f"step {number}: the {name} loss is {value:.6f} on our side and {theirs[name]:.6f} on the other, "
                    f"expected a difference of {TOLERANCE} of it at most; report this"
                )


def _play(kind: str, shape: Shape, size: int) -> dict[str, Any]:
    numbers = [str(number) for number in (*astuple(shape), size)]
    return run_side("benchmarks.train_step_play", [kind, *numbers], f"the {kind} side in passes of {size}")
