"""The protocol of every environment: it shows text and takes actions until the episode ends with a result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from interlat.errors import InputError
from interlat.registry import Registry
from interlat.typed import json_or_text


@dataclass(frozen=True)
class Item:
    """One task in an environment: a game, or one question of a benchmark."""

    id: str
    """Id that is unique in the environment and does not depend on the subset that is played."""
    question: str
    """The question, which sender and receiver may both see."""
    notes: str = ""
    """Text that only the sender may see. Empty if there is none."""
    everything: str = ""
    """Question and notes together, for a sender that sees everything. Empty puts the notes below the question."""
    split: str = ""
    """Split of the data, such as train or test."""
    task_type: str = ""
    """Type of task, by which results are counted separately too."""
    family: tuple[str, ...] = ()
    """Family of items that ask for the same. A message from another family is the strictest control."""
    max_steps: int = 1
    """Largest number of actions in one episode."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Further data that the environment needs to play the item. Not part of any result."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that every result of this item contains."""


@dataclass(frozen=True)
class Outcome:
    """What an environment shows at the start of an episode and after every action."""

    text: str
    """Text that the receiver reads next. Empty if nothing is left to read."""
    done: bool = False
    """Whether the episode is over and no more actions are taken. It does not indicate success."""
    success: bool = False
    """Whether the item is solved. This is the only measure of success."""
    score: float | None = None
    """A finer measure of success, if the environment has one."""
    steps: int = 0
    """Number of actions since the start."""
    action: str | None = None
    """The action that the environment found in the reply. None means the whole reply."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the result of the episode, such as the reason why an answer is wrong."""


class Environment(Protocol):
    """Many items, played at the same time. It does not depend on a language model."""

    name: str
    """Name in results and commands."""
    origin: Mapping[str, Any]
    """Origin of the items. Results on different data are not mixed."""
    reply_tokens: int
    """Default for the largest number of tokens in a reply."""

    def items(self) -> Sequence[Item]:
        """All items, in the order of the data.

        Raises:
            InputError: there are no items, or the data cannot be read.
        """
        ...

    def start(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Start an episode of each item. Returns what the receivers read first, in the order of the items."""
        ...

    def step(self, items: Sequence[Item], replies: Sequence[str]) -> Sequence[Outcome]:
        """Find the action in the receiver's reply to each item, take it, and return the outcome.

        Args:
            items: items whose episodes go on.
            replies: everything that the receiver wrote, including its reasoning; see `interlat.reasoning.final_part`.
        """
        ...

    def close(self) -> None:
        """Stop the processes and threads of the environment."""
        ...


Policy = Callable[[Outcome], str]
"""Function that replies to each outcome of one episode. Every episode has its own."""


@runtime_checkable
class PlaysItself(Protocol):
    """Optional methods of an environment, with which `interlat environments verify` checks that it works."""

    def expert_policy(self, item: Item) -> Policy:
        """A policy that solves the item. It may use information that no agent has."""
        ...

    def random_policy(self, item: Item, seed: int) -> Policy:
        """A policy that draws its replies from those that the environment could accept."""
        ...


@dataclass(frozen=True)
class EnvironmentOptions:
    """Options of an environment. Each environment uses those that it needs."""

    data: tuple[str, ...] = ()
    """Files, folders or hub ids. Empty uses the environment's own data, if it has any."""
    split: str = ""
    """Split of the data."""
    limit: int | None = None
    """Use a fixed random subset of this size. None uses all."""
    workers: int = 2
    """Number of processes or threads beside the program."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options, by name."""


def read_options(options: object) -> dict[str, Any]:
    """Read further options from a file or a command line. Text that is valid JSON is read as JSON.

    Raises:
        InputError: they are not values by name.
    """
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InputError(f"options is {options!r}, expected values by name, such as steps 50; correct it")
    return {name: json_or_text(value) if isinstance(value, str) else value for name, value in options.items()}


ENVIRONMENTS: Registry[Callable[[EnvironmentOptions], Environment]] = Registry(
    "environments",
    {
        "alfworld": "interlat.environments.alfworld.environment:Alfworld",
        "scienceworld": "interlat.environments.scienceworld.environment:ScienceWorld",
        "textcraft": "interlat.environments.textcraft.environment:TextCraft",
        "webshop": "interlat.environments.webshop.environment:WebShop",
    },
)
"""Environments of many actions, by name. Every benchmark is an environment too, see `question`."""


@dataclass(frozen=True)
class Observation:
    """One answer of a game engine."""

    text: str
    """What the agent reads."""
    admissible_commands: tuple[str, ...]
    """Commands that the environment accepts now, sorted."""
    won: bool
    """Whether the task is solved. This is the only measure of success."""
    done: bool
    """Whether the episode is over: the environment accepts no more commands. It does not indicate success."""
    steps: int
    """Number of commands since the reset."""
