"""What each example of a training reads, and the branches that it is compared with."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.training.corpus import Corpus, StoredMessages
from interlat.training.examples import IGNORED, Example, Message, Mixed, ids_of
from interlat.training.settings import TrainActor


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
    """Draws, for an item, another one of another task, from all items that there are.

    Not only from the batch, where samples of similar length meet and a small one may hold a single task; and every
    rank can draw by itself, since stored messages are mapped into memory.

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


def cut(ratio: float, rows: int, words: int) -> tuple[int, int]:
    """How a message of L rows, and a plan of P tokens, is put together: its first rows, and the words from this one on.

    Returns:
        ``(round(ratio L), round(ratio P))``; for a ratio of 1 all rows and no word, for 0 the plan alone.
    """
    return round(ratio * rows), round(ratio * words)


class BranchSource:
    """Gives each example of a corpus its message and those that it is compared with, as a configuration says.

    ``thoughts`` are needed for all messages but "none" and "base"; ``literal`` makes control tokens in a message words.

    Raises:
        InputError: messages are needed and there are none, or separation has only one task to learn from.
    """

    def __init__(
        self,
        config: TrainActor,
        corpus: Corpus,
        thoughts: StoredMessages | None,
        chat: ChatFormat,
        literal: bool = True,
    ) -> None:
        self.config, self.corpus, self.thoughts, self.chat, self.literal = config, corpus, thoughts, chat, literal
        self.references = config.losses.references
        if config.message == "base" and corpus.written_plan is None:
            raise InputError("this corpus has no plans written from the exact belief; choose another message")
        if "other" in self.references:
            self.negatives = Negatives([example.item for example in corpus.training], corpus.task_of)

    def branch(self, example: Example, rng: random.Random, progress: float | None = None) -> Branch:
        """An example with its messages when the share ``progress`` of the training is over; None is a validation, where
        every message is whole."""
        config, thoughts = self.config, self.thoughts
        training = progress is not None
        if config.message == "none" or (training and rng.random() < config.none_share):
            return Branch(example, None)
        if config.message == "base":
            assert self.corpus.written_plan is not None, "checked when this was made"
            return Branch(example, self._words(self.corpus.written_plan(example, rng)))
        assert thoughts is not None, "checked when the configuration was made"
        if config.message != "latent":
            return Branch(example, self._words(thoughts.said(example.item, rng)))
        message = thoughts.states(example.item)
        if progress is None:
            return Branch(example, Mixed(message, len(message)))
        # A message cut to its first rows stays without words: the two are different lessons.
        is_cut = rng.random() < config.prefix_share
        if is_cut:
            message = message[: rng.randint(1, len(message))]
        mixed = not is_cut and config.curriculum.kind != "none"
        plan = self._plan(example.item, rng) if mixed or "plan" in self.references else ()
        own = Mixed(message, len(message))
        if mixed:
            taken, first_word = cut(config.curriculum.ratio(progress, rng), len(message), len(plan))
            own = Mixed(message, taken, plan[first_word:])
        other = None
        if "other" in self.references:
            negative = self.negatives.of(example.item, rng)
            other = other_message(own, thoughts.states(negative), self._plan(negative, rng) if own.words else ())
        return Branch(example, own, other, plan)

    def _plan(self, item: str, rng: random.Random) -> tuple[int, ...]:
        assert self.thoughts is not None, "checked when the configuration was made"
        return self._words(self.thoughts.text(item, rng))

    def _words(self, text: str) -> tuple[int, ...]:
        return ids_of(text, self.chat, self.literal)

    def of_another(self, examples: Sequence[Example], rng: random.Random) -> list[Branch]:
        """Validation branches in which each example reads the latent message about another one, of another task."""
        negatives = Negatives([example.item for example in examples], self.corpus.task_of)
        assert self.thoughts is not None, "only latent messages are exchanged"
        others = [self.thoughts.states(negatives.of(example.item, rng)) for example in examples]
        return [Branch(e, Mixed(rows, len(rows))) for e, rows in zip(examples, others, strict=True)]
