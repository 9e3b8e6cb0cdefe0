"""How much of a message is latent: its first rows are latent, the rest are the words of the plan, as embeddings."""

import random
from dataclasses import dataclass
from typing import Literal, get_args

from interlat.errors import InputError

Kind = Literal["none", "uniform", "linear"]
STEPS_OF_RATIO = 10


@dataclass(frozen=True)
class Curriculum:
    """Which share of a message's rows is latent, from its first row on, while training goes on.

    Interlat (arXiv 2511.09149) draws the share uniformly from 0.1 to 0.9 all the time, so that the whole message, which
    is all that an actor ever gets at play, is never trained on. Here the whole message takes over.
    """

    kind: Kind = "none"
    """none: always the whole message. uniform: 0.1 to 0.9 as published, or the whole message with a probability that
    grows from ``whole_at_start`` to 1. linear: uniform between a bound that grows from 0 to 1, and 1."""
    whole_at_start: float = 0.1
    """uniform: probability of the whole message in the first step."""
    full_after: float = 0.8
    """Share of the training after which every message is whole."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"curriculum is {self.kind!r}; use {', '.join(get_args(Kind))}")
        if not 0 <= self.whole_at_start <= 1 or not 0 < self.full_after <= 1:
            raise InputError("whole_at_start must lie in [0, 1] and full_after in (0, 1]")

    def ratio(self, progress: float, rng: random.Random) -> float:
        """The latent share of one message.

        Args:
            progress: share of the training that is over, in [0, 1].
            rng: draws the share; one draw serves all branches of a sample.
        """
        if self.kind == "none":
            return 1.0
        done = min(1.0, progress / self.full_after)
        if done >= 1.0:
            return 1.0
        if self.kind == "linear":
            return done + (1.0 - done) * rng.random()
        whole = self.whole_at_start + (1.0 - self.whole_at_start) * done
        return 1.0 if rng.random() < whole else rng.randint(1, STEPS_OF_RATIO - 1) / STEPS_OF_RATIO


def cut(ratio: float, rows: int, words: int) -> tuple[int, int]:
    """How a message is put together: its first rows, and the words from this one on.

    Args:
        ratio: latent share.
        rows: latent rows L.
        words: tokens P of the plan.

    Returns:
        ``(round(ratio L), round(ratio P))``; for a ratio of 1 all rows and no word, for 0 the plan alone.
    """
    return round(ratio * rows), round(ratio * words)
