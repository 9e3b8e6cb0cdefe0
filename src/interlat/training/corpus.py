"""What a receiver learns from: a corpus of conversations, and the registry of what makes one."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.registry import Registry
from interlat.store.reading import LatentStore
from interlat.training.examples import Example
from interlat.training.messages import StoredMessages


@dataclass(frozen=True, eq=False)
class Corpus:
    """Conversations with a place for a message, and which of them are about one task."""

    training: Sequence[Example]
    """What is learned."""
    validation: Sequence[Example]
    """What is never learned and gives the validation loss; of other tasks than ``training``."""
    task_of: Mapping[str, str]
    """Item of an example -> its task. Messages about one task are no negatives of each other."""
    written_plan: Callable[[Example, random.Random], str] | None = field(default=None, repr=False)
    """Writes a plan for an example where no sender is needed for it."""
    counts: str = ""
    """How many conversations there are, as a line to print; empty prints nothing."""


Options = Mapping[str, Any]
"""The fields of a training's configuration, by name."""
LengthOf = Callable[[str], int]
"""Item -> positions of the longest message that it will have in training."""


class CorpusSource:
    """Makes a corpus for a training. A subclass overrides what its data can give; `check` and `load` at least."""

    name = "this corpus"
    """What error texts call it."""
    has_games = False
    """Whether it has episodes of games: plans that need no sender, places to search, games that models played."""

    def check(self, options: Options) -> None:
        """Refuse a configuration that this corpus cannot serve, before anything is loaded. Raises InputError."""
        raise NotImplementedError

    def load(self, options: Options, chat: ChatFormat, messages: StoredMessages | None, length_of: LengthOf) -> Corpus:
        """The conversations.

        Args:
            options: the training's configuration.
            chat: the chat format of the model that learns.
            messages: the stored messages; None where none are read.
            length_of: how long a message gets.

        Raises:
            InputError, PromptError: the data cannot be used.
        """
        raise NotImplementedError

    def agent_settings(self, options: Options, message_kind: MessageKind) -> AgentSettings:
        """The settings with which an agent's prompts are those of the training."""
        return AgentSettings(role="actor", message_kind=message_kind)

    def on_policy(
        self, options: Options, chat: ChatFormat, messages: StoredMessages
    ) -> tuple[list[Example], list[Example]]:
        """Conversations that the receiver itself had under compressed messages: to learn, and held out."""
        raise InputError(f"{self.name} has no on-policy episodes; leave out on_policy")

    def held_out_order(self, store: LatentStore) -> list[str]:
        """The items of all tasks in a store, those that a training holds out first."""
        raise InputError(f"{self.name} has no trajectories to prefer; choose another corpus")

    def trajectory(self, metadata: Mapping[str, Any], turns: Sequence[tuple[str, str]], chat: ChatFormat) -> Example:
        """An attempt of an actor, (command, observation) pairs with a stored message of these metadata, as a
        conversation; learned are all of its commands and the ends of its turns."""
        raise InputError(f"{self.name} has no trajectories to prefer; choose another corpus")


CORPORA: Registry[CorpusSource] = Registry(
    "corpora", {"conversations": "interlat.training.conversations:CONVERSATIONS"}
)
