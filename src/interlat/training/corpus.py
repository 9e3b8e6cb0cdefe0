"""What an actor learns from: conversations with a place for a message, some of them held out."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from interlat.training.examples import Example


@dataclass(frozen=True, eq=False)
class Corpus:
    """Conversations, and which of them are about one task."""

    training: Sequence[Example]
    """What is learned."""
    validation: Sequence[Example]
    """What is never learned and gives the validation loss; of other tasks than ``training``."""
    task_of: Mapping[str, str]
    """Item of an example -> its task. Messages about one task are no negatives of each other."""
    written_plan: Callable[[Example, random.Random], str] | None = field(default=None, repr=False)
    """Writes a plan for an example where no sender is needed for it."""
