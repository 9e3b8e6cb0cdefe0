"""A training step of a compressed sender against one sample after the other, as the released code takes it.

Each side runs in a process of its own (`benchmarks.compress_play`) on the same random models and samples. The
reference takes K single-token passes for each sample, an adapter call for each message, and receiver passes padded to a
fixed length with the logits of all positions. The losses of both sides are compared after every step, all but the first
after updates.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import comparison
from benchmarks.train_step import check_losses


@dataclass(frozen=True)
class Shape:
    """How large a step is."""

    latent_steps: int
    """K."""
    batch: int
    """B."""
    prompt: int
    """Tokens of a sender's prompt, on average."""
    real: int
    """Tokens of a receiver's conversation without the message, on average."""
    padded: int
    """T of the reference's receiver passes."""
    supervised: int
    """Tokens to learn of a conversation."""
    vocabulary: int
    """V of the receiver."""
    hidden_size: int = 256
    """D of both models; each has 4 layers."""

    def __str__(self) -> str:
        return (
            f"K={self.latent_steps} batch {self.batch}: prompts of ~{self.prompt}, replies in ~{self.real} tokens, "
            f"padded to {self.padded}, {self.supervised} supervised, vocabulary {self.vocabulary:,}"
        )


SHAPES = {True: Shape(32, 8, 64, 96, 160, 24, 4_096, 128), False: Shape(32, 8, 200, 400, 1024, 60, 32_768)}


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield two records: the whole step, and the latents alone (forward and backward); smaller is better.

    Raises:
        BenchmarkError: a side failed, or the losses of the two differ.
    """
    shape = SHAPES[quick]
    numbers = [str(number) for number in astuple(shape)]
    ours, plain = (run_side("benchmarks.compress_play", [kind, *numbers], kind) for kind in ("ours", "plain"))
    check_losses(ours["losses"], plain["losses"])
    for name, case in (("seconds", str(shape)), ("rollout", f"{shape}; the latents alone, forward and backward")):
        yield comparison("compress", case, "step_seconds", "s", ours[name], plain[name], larger_is_better=False)
