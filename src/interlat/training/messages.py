"""Stored messages, by the item that they are about."""

import random
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError
from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore


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
