"""A world: a game of many items that plays in a process of its own, and says nothing of processes."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from interlat.environments.protocol import EnvironmentOptions, Item, Outcome
from interlat.errors import InputError

Options = TypeVar("Options")


class Episode(Protocol):
    """One episode of one item. The same actions give the same outcomes, in whichever process."""

    def start(self) -> Outcome:
        """What the receiver reads first."""
        ...

    def step(self, action: str) -> Outcome:
        """Take one action; one that the game does not know costs a step and changes nothing."""
        ...


class World(Protocol):
    """Made of `EnvironmentOptions` in every process that plays it."""

    origin: Mapping[str, Any]
    """Where the items come from."""

    def items(self) -> Sequence[Item]:
        """All items, in the order of the data, as many as the options allow."""
        ...

    def episode(self, item: str) -> Episode:
        """A new episode of the item of an id."""
        ...

    def expert(self, item: str) -> Sequence[str]:
        """Actions that solve an item; as good as there are where none do."""
        ...


@runtime_checkable
class PlaysAtRandom(Protocol):
    """What a world has besides, where it alone knows which actions are valid."""

    def random(self, item: str, seed: int) -> Sequence[str]:
        """The actions of a random player, drawn turn by turn from the valid ones."""
        ...


def some_items(items: Sequence[Item], options: EnvironmentOptions) -> tuple[Item, ...]:
    """The items of a split, and of them a fixed random subset; in their order.

    Raises:
        InputError: there is no such split, or the limit is below 1.
    """
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit is {options.limit}, expected at least 1; leave it out to take all items")
    splits = sorted({item.split for item in items})
    if options.split and options.split not in splits:
        raise InputError(f"split is {options.split!r}, expected one of {', '.join(splits)}; leave it out to take all")
    chosen = [item for item in items if options.split in ("", item.split)]
    if options.limit is None or options.limit >= len(chosen):
        return tuple(chosen)
    # Shuffled and cut, so that a larger limit keeps what a smaller one chose.
    numbers = list(range(len(chosen)))
    random.Random("some of the items").shuffle(numbers)
    return tuple(chosen[number] for number in sorted(numbers[: options.limit]))


def options_of(kind: type[Options], environment: str, options: Mapping[str, Any]) -> Options:
    """The options of an environment, a dataclass, of a mapping by name.

    Raises:
        InputError: one is unknown, or its value is not usable.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(options) - set(names)):
        raise InputError(f"{environment} has no option {', '.join(unknown)}, expected some of {', '.join(names)}")
    return kind(**options)


def no_options(environment: str, options: Mapping[str, Any]) -> None:
    """Raise an InputError if there are options for an environment that has none."""
    if options:
        raise InputError(f"{environment} has no options, but got {', '.join(sorted(options))}; leave them out")
