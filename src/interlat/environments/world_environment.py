"""An environment whose items are a world that worker processes play."""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from interlat.environments.actions import action_in
from interlat.environments.pool import SECONDS, SECONDS_TO_LOAD, WorldPool
from interlat.environments.protocol import EnvironmentOptions, Item, Outcome, Policy
from interlat.errors import InputError, WorldError


class WorldEnvironment:
    """Base of an environment: a subclass names its world and what a random player may do.

    Args:
        options: what the world is made of. A worker that takes too long is started again, see `WorldPool`.

    Raises:
        InputError: the data cannot be understood.
        WorldError: a package is missing, or no worker starts.
    """

    name: str
    reply_tokens = 64
    world: ClassVar[str]
    """``module:class`` of the `World`."""
    seconds: ClassVar[float] = SECONDS
    """The longest that one action may take."""
    seconds_to_load: ClassVar[float] = SECONDS_TO_LOAD
    """The longest that making the world may take, and naming its items."""

    def __init__(self, options: EnvironmentOptions) -> None:
        self._pool = WorldPool(self.world, options, self.seconds, self.seconds_to_load)
        try:
            told = self._pool.ask("items")
        except BaseException:
            self._pool.close()
            raise
        self.origin: Mapping[str, Any] = told["origin"]
        self._items = [Item(**{**item, "family": tuple(item["family"])}) for item in told["items"]]
        self._actions: dict[str, list[str]] = {}

    def items(self) -> Sequence[Item]:
        return self._items

    def start(self, items: Sequence[Item]) -> Sequence[Outcome]:
        self._actions.update((item.id, []) for item in items)
        return self._played(items)

    def step(self, items: Sequence[Item], replies: Sequence[str]) -> Sequence[Outcome]:
        if missing := [item.id for item in items if item.id not in self._actions]:
            raise WorldError(f"{missing[0]} has not been started; start comes first")
        for item, reply in zip(items, replies, strict=True):
            self._actions[item.id].append(action_in(reply))
        return [
            dataclasses.replace(outcome, action=self._actions[item.id][-1])
            for item, outcome in zip(items, self._played(items), strict=True)
        ]

    def close(self) -> None:
        self._pool.close()

    def expert_policy(self, item: Item) -> Policy:
        """The world's own solution."""
        left = iter(self._pool.ask("expert", item.id))
        return lambda _: next(left, "")

    def random_policy(self, item: Item, seed: int) -> Policy:
        """Draws from what the text of the environment offers."""
        draw = random.Random(f"{item.id} {seed}")
        return lambda seen: self.random_action(item, seen, draw)

    def random_action(self, item: Item, seen: Outcome, draw: random.Random) -> str:
        """An action drawn from those that the environment could accept.

        Raises:
            InputError: the environment has none.
        """
        raise InputError(f"{self.name} has no random player; give it the method random_action, or do not verify it")

    def _played(self, items: Sequence[Item]) -> list[Outcome]:
        names = [item.id for item in items]
        return self._pool.play(names, [self._actions[name] for name in names])


class SelfDrawingEnvironment(WorldEnvironment):
    """Base of an environment whose world `PlaysAtRandom`, since what is valid is known there alone."""

    def random_policy(self, item: Item, seed: int) -> Policy:
        """Draws from the valid actions."""

        def drawn() -> Iterator[str]:
            yield from self._pool.ask("random", item.id, seed)

        actions = drawn()  # nothing is drawn before the first turn
        return lambda _: next(actions, "")
