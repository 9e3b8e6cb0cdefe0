"""What each example of a training reads: nothing, words or latent rows, and what it is compared with."""

import random
from collections.abc import Sequence

from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.training.branches import Branch, Negatives, other_message
from interlat.training.corpus import Corpus
from interlat.training.examples import Example, Mixed, ids_of
from interlat.training.messages import StoredMessages
from interlat.training.settings import TrainActor


def cut(ratio: float, rows: int, words: int) -> tuple[int, int]:
    """How a message of L rows, and a plan of P tokens, is put together: its first rows, and the words from this one on.

    Returns:
        ``(round(ratio L), round(ratio P))``; for a ratio of 1 all rows and no word, for 0 the plan alone.
    """
    return round(ratio * rows), round(ratio * words)


class BranchSource:
    """Gives each example its message and those that it is compared with.

    Args:
        config: which messages, and what they are compared with.
        corpus: the examples.
        thoughts: the sender's thoughts about them; needed for all messages but "none" and "base".
        chat: the actor's chat format.
        literal: whether control tokens in a message are words.

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
