"""The protocol of every environment: it shows text and takes actions until it says how it went."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from interlat.errors import InputError
from interlat.registry import Registry
from interlat.typed import json_or_text


@dataclass(frozen=True)
class Item:
    """One thing to be done in an environment: a game, or one question of a benchmark."""

    id: str
    """Unique in the environment, and the same whichever subset is played."""
    question: str
    """What is asked, as sender and receiver may both see it."""
    notes: str = ""
    """What only the sender may see; empty where there is nothing."""
    everything: str = ""
    """Question and notes together, as a sender reads them that sees all; empty puts the notes below the question."""
    split: str = ""
    """The part of the data, such as train or test."""
    task_type: str = ""
    """What results are also counted by."""
    family: tuple[str, ...] = ()
    """What the item asks for; the message of another family is the strictest control."""
    max_steps: int = 1
    """Most actions in one episode."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What else the environment needs to play it; goes into no result."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that every result of this item repeats."""


@dataclass(frozen=True)
class Outcome:
    """What an environment shows after its start and after every action."""

    text: str
    """What the receiver reads next; empty where nothing is left to read."""
    done: bool = False
    """No more actions are taken; says nothing about success."""
    success: bool = False
    """The item is solved. The only measure of success."""
    score: float | None = None
    """A finer measure, where the environment has one."""
    steps: int = 0
    """Actions taken since the start."""
    action: str | None = None
    """What the environment took the reply for; None is the whole of it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that the result of the episode repeats, such as why an answer is wrong."""


class Environment(Protocol):
    """Many items, played side by side. Knows no language model."""

    name: str
    """As results and commands spell it."""
    origin: Mapping[str, Any]
    """Where the items come from; results on other data are not mixed with these."""
    reply_tokens: int
    """Most tokens of a reply, where a run does not say."""

    def items(self) -> Sequence[Item]:
        """All items, in the order of the data.

        Raises:
            InputError: there are none, or the data cannot be understood.
        """
        ...

    def start(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Begin an episode of each item; what the receiver reads first, in order."""
        ...

    def step(self, items: Sequence[Item], replies: Sequence[str]) -> Sequence[Outcome]:
        """Find the action in the receiver's reply to each item, take it, and answer.

        Args:
            items: those whose episodes go on.
            replies: all that the receiver wrote, thoughts included; see `interlat.reasoning.final_part`.
        """
        ...

    def close(self) -> None:
        """End what runs beside the program."""
        ...


Policy = Callable[[Outcome], str]
"""Replies to what one episode shows, turn by turn; made anew for every episode."""


@runtime_checkable
class PlaysItself(Protocol):
    """What an environment may have besides, so that `interlat environments verify` can tell whether it works."""

    def expert_policy(self, item: Item) -> Policy:
        """Solves the item; may know what no agent knows."""
        ...

    def random_policy(self, item: Item, seed: int) -> Policy:
        """Draws its replies from those that the environment could accept."""
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
    """Further options as a file or a command line gives them: text that is JSON is read as such.

    Raises:
        InputError: they are no values by name.
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
"""Environments of many actions, by name. Every benchmark is an environment besides, see `question`."""


@dataclass(frozen=True)
class Observation:
    """One answer of a game engine."""

    text: str
    """What the agent reads."""
    admissible_commands: tuple[str, ...]
    """The commands that the environment would accept now, sorted."""
    won: bool
    """The task is solved. The only measure of success."""
    done: bool
    """The environment accepts no more commands; says nothing about success."""
    steps: int
    """Commands given since the reset."""
