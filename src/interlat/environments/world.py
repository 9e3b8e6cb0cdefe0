"""A world: a game with many items that runs in its own process, without any code for processes."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from interlat.environments.protocol import EnvironmentOptions, Item, Outcome
from interlat.errors import InputError

Options = TypeVar("Options")


class Episode(Protocol):
    """One episode of one item. The same actions give the same outcomes in every process."""

    def start(self) -> Outcome:
        """Start the episode. Returns what the receiver reads first."""
        ...

    def step(self, action: str) -> Outcome:
        """Take one action. An unknown action costs a step and changes nothing."""
        ...


class World(Protocol):
    """A game with many items. Every process that plays it makes its own from `EnvironmentOptions`."""

    origin: Mapping[str, Any]
    """Origin of the items."""

    def items(self) -> Sequence[Item]:
        """All items that the options select, in the order of the data."""
        ...

    def episode(self, item: str) -> Episode:
        """A new episode of the item with this id."""
        ...

    def expert(self, item: str) -> Sequence[str]:
        """Actions that solve an item, or the best known actions if none solve it."""
        ...


@runtime_checkable
class PlaysAtRandom(Protocol):
    """Optional method of a world, if only the world knows which actions are valid."""

    def random(self, item: str, seed: int) -> Sequence[str]:
        """The actions of a random player, drawn turn by turn from the valid ones."""
        ...


def some_items(items: Sequence[Item], options: EnvironmentOptions) -> tuple[Item, ...]:
    """The items of a split, or a fixed random subset of them, in their order.

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
    """Make the options of an environment, a dataclass, from a mapping by name.

    Raises:
        InputError: an option is unknown, or its value is not usable.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(options) - set(names)):
        raise InputError(f"{environment} has no option {', '.join(unknown)}, expected some of {', '.join(names)}")
    return kind(**options)


def no_options(environment: str, options: Mapping[str, Any]) -> None:
    """Raise an InputError if there are options for an environment that has none."""
    if options:
        raise InputError(f"{environment} has no options, but got {', '.join(sorted(options))}; leave them out")
