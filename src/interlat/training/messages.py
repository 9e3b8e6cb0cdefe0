"""A scout's stored thoughts as messages, and the episodes that they belong to."""

import random
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError
from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore


class ScoutMessages:
    """The thoughts in latent stores, by the id of the episode that they are about.

    Args:
        directories: stores about the same episodes. States come from the first one; a text message is the plan in one
            of them, each as likely, so that a reader meets greedy and sampled plans.

    Raises:
        InputError: no stores, rows of several layers, latent steps without words, or an episode is missing in one.
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
        """The plan about an episode, of one of the stores, with its thoughts: a word for each state."""
        return self._entry(item, rng).plan

    def said(self, item: str, rng: random.Random) -> str:
        """The same without thoughts: what a message in words says."""
        return self._entry(item, rng).said

    def _entry(self, item: str, rng: random.Random) -> Entry:
        store = self.stores[0] if len(self.stores) == 1 else rng.choice(self.stores)
        return store.entry(item)

    def entries(self, item: str) -> list[Entry]:
        """The thoughts about an episode, one of each store."""
        return [store.entry(item) for store in self.stores]

    def rows(self, item: str) -> int:
        """How many states there are."""
        return self.stores[0].length(item)

    def states(self, item: str) -> Float[Tensor, "T D"]:
        """The states of the plan."""
        return self.stores[0].hidden_states(item)

    def episodes(self) -> list[dict[str, Any]]:
        """The records of the games and their episodes, as `read_episodes` gives them.

        Raises:
            InputError: the thoughts are not about episodes of authored games.
        """
        records: dict[str, dict[str, Any]] = {}
        store = self.stores[0]
        for number in range(len(store)):
            metadata = store.entry(number).metadata
            if not {"record", "episode"} <= metadata.keys():
                raise InputError(
                    f"{store.directory} holds no episodes of games; give --corpus conversations for other tasks, or "
                    "collect it with source.kind alfworld"
                )
            record = metadata["record"]
            records.setdefault(record["item"], {**record, "episodes": []})["episodes"].append(metadata["episode"])
        for record in records.values():
            record["episodes"].sort(key=lambda episode: episode["draw"])
        return [records[item] for item in sorted(records)]
