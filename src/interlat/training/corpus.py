"""What a receiver learns from: conversations, stored messages about them, and the registry of what makes them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.registry import Registry
from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.training.examples import Example


class StoredMessages:
    """The messages in latent stores, by the id of the item that they are about.

    Args:
        directories: stores about the same items. Hidden states come from the first one; a text message is the plan in
            a random one of them, so that a receiver meets greedy and sampled plans.

    Raises:
        InputError: no stores, states of several layers, or an item is missing in one.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        if not directories:
            raise InputError("no stores of thoughts; make one with `interlat collect`")
        self.stores = [LatentStore.open(directory) for directory in directories]
        first = self.stores[0]
        if len(first.manifest.layers) != 1:
            raise InputError(f"{directories[0]} keeps {len(first.manifest.layers)} layers, but a message has one")
        for store in self.stores:
            lacking = set(first.ids) - set(store.ids)
            if lacking or not len(store):
                example = min(lacking, default="anything")
                raise InputError(
                    f"{store.directory} has no thought about {example} ({len(lacking)} are missing); collect them"
                )

    @property
    def manifest(self) -> Manifest:
        """How the states were made."""
        return self.stores[0].manifest

    def text(self, item: str, rng: random.Random) -> str:
        """The plan about an item, of one of the stores, with its reasoning: a token for each state."""
        return self._entry(item, rng).plan

    def said(self, item: str, rng: random.Random) -> str:
        """The same without the reasoning: what a text message says."""
        return self._entry(item, rng).said

    def _entry(self, item: str, rng: random.Random) -> Entry:
        store = self.stores[0] if len(self.stores) == 1 else rng.choice(self.stores)
        return store.entry(item)

    def entries(self, item: str) -> list[Entry]:
        """The entries about an item, one of each store."""
        return [store.entry(item) for store in self.stores]

    def rows(self, item: str) -> int:
        """How many states there are."""
        return self.stores[0].length(item)

    def states(self, item: str) -> Float[Tensor, "T D"]:
        """The states of the plan."""
        return self.stores[0].hidden_states(item)


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
        """The conversations."""
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
