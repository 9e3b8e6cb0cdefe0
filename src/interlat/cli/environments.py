"""`interlat environments ...`: which environments there are, what they show, and whether they work."""

import inspect
import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.config import CHECKED_BY_CLASS
from interlat.environments.protocol import ENVIRONMENTS, EnvironmentOptions, read_options
from interlat.errors import InputError
from interlat.progress import gathered, say

if TYPE_CHECKING:
    from interlat.environments.protocol import Environment
    from interlat.environments.verification import ItemVerification

NAMED_FAILURES = 10


@dataclass(frozen=True)
class ListEnvironments:
    """List the environments of many actions."""

    json: bool = False
    """Print one JSON line per environment on stdout."""

    def run(self) -> list[dict[str, str]]:
        return [{"name": name, "about": _about(ENVIRONMENTS[name])} for name in ENVIRONMENTS.names()]

    def report(self, environments: list[dict[str, str]]) -> None:
        if self.json:
            for one in environments:
                print(json.dumps(one))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("name", no_wrap=True)
        table.add_column("about", overflow="fold")
        for one in environments:
            table.add_row(one["name"], Text(one["about"]))
        Console().print(table)
        say("benchmarks are environments too, of one reply: `interlat tasks list`")


def _about(made_by: Any) -> str:
    """The first paragraph of its docstring, without the marks of code."""
    return " ".join((inspect.getdoc(made_by) or "").split("\n\n")[0].replace("``", "").split())


@dataclass(frozen=True)
class ChosenEnvironment:
    """An environment and its data."""

    name: Positional[str]
    """Name of an environment. See `interlat environments list`."""
    data: tuple[str, ...] = ()
    """Files, folders or hub ids of the items. Empty uses the environment's own data, if it has any."""
    split: str = ""
    """Split of the data. Empty uses everything."""
    limit: int | None = None
    """Use a fixed random subset of this size. None uses all."""
    workers: int = 2
    """Number of processes that play."""
    options: dict[str, str] = field(default_factory=dict, metadata={CHECKED_BY_CLASS: True})
    """Further options of the environment, by name, such as ``--options.steps 50`` of alfworld."""
    json: bool = False
    """Print JSON lines on stdout."""

    def load(self) -> "Environment":
        """The environment.

        Raises:
            InputError: there is none of that name, or its data cannot be understood.
            WorldError: a package is missing.
        """
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}, expected at least 1; leave it out to take all items")
        options = EnvironmentOptions(self.data, self.split, self.limit, self.workers, read_options(self.options))
        return ENVIRONMENTS[self.name](options)


@dataclass(frozen=True)
class ShowEnvironment(ChosenEnvironment):
    """Show what a receiver reads first in an environment."""

    limit: int | None = 3
    """Number of items to show, a fixed random subset."""

    def run(self) -> list[dict[str, Any]]:
        environment = self.load()
        try:
            items = environment.items()
            starts = environment.start(items)
        finally:
            environment.close()
        return [{**asdict(item), "text": seen.text} for item, seen in zip(items, starts, strict=True)]

    def report(self, items: list[dict[str, Any]]) -> None:
        console = Console()
        for item in items:
            if self.json:
                print(json.dumps(item, ensure_ascii=False))
                continue
            about = [item["id"], item["split"], item["task_type"], f"at most {item['max_steps']} actions"]
            console.rule(Text(", ".join(part for part in about if part)), align="left")
            print(item["text"])
            if item["notes"]:
                print(f"\nonly the sender is told:\n{item['notes']}")


@dataclass(frozen=True)
class EnvironmentVerification:
    """What the expert and the random player of an environment reached."""

    found: "list[ItemVerification]"
    origin: dict[str, Any]
    """Where the items came from."""
    seconds: float
    """Spent on playing."""

    def summary(self) -> dict[str, Any]:
        """The counts, as JSON."""
        count = len(self.found)
        return {
            "items": count,
            "expert_solved": sum(one.expert_solved for one in self.found),
            "expert_score": sum(one.expert_score for one in self.found) / count,
            "random_score": sum(one.random_score for one in self.found) / count,
            "steps_per_second": round(sum(one.steps for one in self.found) / self.seconds, 1),
        }


@dataclass(frozen=True)
class VerifyEnvironment(ChosenEnvironment):
    """Play an environment with its expert, which must solve enough of the items, and with a random player."""

    least: float = 1.0
    """Fraction of the items that the expert must solve, from 0 to 1. If it solves fewer, the exit code is 1."""
    seed: int = 0
    """Seed of the random player."""

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise InputError(f"least is {self.least:g}, expected a share from 0 to 1")

    def run(self) -> EnvironmentVerification:
        """Play.

        Raises:
            InputError: the environment has no items or no players, or its data cannot be understood.
            WorldError: a package is missing, or a worker never answers.
        """
        from interlat.environments.verification import verified

        environment = self.load()
        try:
            items = environment.items()
            if not items:
                raise InputError(f"{self.name} has no items to verify; give it other data or another split")
            began = time.perf_counter()
            found = gathered(verified(environment, items, self.seed), len(items), "items")
            return EnvironmentVerification(found, dict(environment.origin), time.perf_counter() - began)
        finally:
            environment.close()

    def report(self, result: EnvironmentVerification) -> int:
        """The items that the expert did not solve and the counts; 1 if it solved too few."""
        unsolved = [one for one in result.found if not one.expert_solved]
        counts = result.summary()
        if self.json:
            for one in unsolved:
                print(json.dumps(asdict(one)))
            print(json.dumps({"environment": self.name, **result.origin, **counts}))
        for one in unsolved[:NAMED_FAILURES]:
            say(f"unsolved {one.item}: the expert's score is {one.expert_score:g}")
        if len(unsolved) > NAMED_FAILURES:
            say(f"and {len(unsolved) - NAMED_FAILURES} more")
        enough = counts["expert_solved"] / counts["items"] >= self.least
        say(
            f"{self.name}: items {counts['items']}, expert_solved {counts['expert_solved']}"
            f"{'' if enough else f' (fewer than {self.least:g} of them)'}, random_score {counts['random_score']:.3f}, "
            f"steps_per_second {counts['steps_per_second']:g}"
        )
        return int(not enough)
