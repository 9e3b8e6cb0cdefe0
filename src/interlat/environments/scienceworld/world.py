"""The world of ScienceWorld (Wang et al. 2022, arXiv 2203.07540): its tasks, splits, scores and gold paths.

Texts and scores are the package's, apart from the rules that come first. A score is the published one divided by 100:
the share of a task's goals that are reached, and -1 where a task was failed for good.
"""

import dataclasses
import random
from collections.abc import Iterable, Sequence
from typing import Protocol

from interlat.environments.protocol import EnvironmentOptions, Item, Outcome
from interlat.environments.scienceworld.games import Game, Games
from interlat.environments.scienceworld.jvm import JavaMachine
from interlat.environments.scienceworld.simulator import Simulator
from interlat.environments.world import options_of, some_items
from interlat.errors import InputError, WorldError

EASY = "easy"
"""All simplifications that a task allows, as in most published results."""
NO_ELECTRICITY = "noElectricalAction"
ELECTRICAL = ("power-component", "conductivity")
"""In the names of tasks that need what that simplification removes; the package's own rule."""
STEPS = 100
"""The published limit of actions."""
LONG_TASKS = (
    "boil",
    "inclined-plane-friction-named-surfaces",
    "inclined-plane-friction-unnamed-surfaces",
    "mendelian-genetics-known-plant",
    "mendelian-genetics-unknown-plant",
)
"""Tasks with gold paths of more actions than that in the first test variation, 111 to 192; boil is near, with 96."""
STEPS_OF_LONG_TASKS = 300
HEAP = 768
"""Megabytes: room for 38 games, more than are played side by side by default."""
SMALLEST_HEAP = 192
MEGABYTES_BESIDE_GAMES = 160
"""For loading, gold paths, and what is no longer used but not yet collected."""
MEGABYTES_PER_GAME = 16
"""One was measured at 13."""
RULES = (
    "You do an experiment of elementary science in a house of several rooms, one action a turn. The actions, where OBJ "
    "is a thing or a room:\n{actions}\n"
    "You focus on a thing only where the task says so: on a wrong one, the task is failed.\n"
    "Think first if you like, and end with a line such as Action: look around"
)


class Machine(Protocol):
    """Makes simulators."""

    version: str

    def simulator(self) -> Simulator: ...


@dataclasses.dataclass(frozen=True)
class ScienceWorldOptions:
    """Options of a ScienceWorld, besides tasks and split."""

    simplifications: str = EASY
    """easy, or names of the package's own simplifications, separated by commas. Empty uses none."""
    steps: int | None = None
    """Largest number of actions in one episode.
    None: 100, or 300 where gold paths need more than 100 (see `LONG_TASKS`)."""
    heap: int = HEAP
    """Heap memory of each worker's Java machine in megabytes."""

    def __post_init__(self) -> None:
        if not isinstance(self.simplifications, str):
            raise InputError(
                f"simplifications is {self.simplifications!r}, expected names with commas between them, such as {EASY}"
            )
        for name, least in (("steps", 1), ("heap", SMALLEST_HEAP)):
            value = getattr(self, name)
            if (value is not None or name == "heap") and (type(value) is not int or value < least):
                raise InputError(f"{name} is {value!r}, expected a number of at least {least}")

    def limit_of(self, task: str) -> int:
        """Most actions in an episode of a task."""
        return self.steps or (STEPS_OF_LONG_TASKS if task in LONG_TASKS else STEPS)


class ScienceWorldWorld:
    """Every variation of a task is an item.

    Args:
        options: ``data`` names tasks, none means all; ``split`` is train, dev or test, as the package has them;
            ``options`` sets fields of `ScienceWorldOptions`.
        machine: makes simulators; by default a Java machine of this process's own.

    Raises:
        InputError: there is no such task, simplification or option.
        WorldError: a package or Java is missing.
    """

    def __init__(self, options: EnvironmentOptions, machine: Machine | None = None) -> None:
        self._options, self._settings = options, options_of(ScienceWorldOptions, "scienceworld", options.options)
        self._machine = JavaMachine(self._settings.heap) if machine is None else machine
        kept = (self._settings.heap - MEGABYTES_BESIDE_GAMES) // MEGABYTES_PER_GAME
        self._games = Games(self._machine.simulator, kept)
        known = self._machine.simulator()
        self._tasks = _known("data", list(options.data) or known.getTaskNames(), known.getTaskNames())
        given = [name for name in self._settings.simplifications.split(",") if name]
        _known("simplifications", given, [EASY, *known.getPossibleSimplifications().split(", ")])
        electrical = [task for task in self._tasks if any(word in task for word in ELECTRICAL)]
        if NO_ELECTRICITY in given and electrical:
            raise InputError(
                f"simplifications has {NO_ELECTRICITY}, with which {', '.join(electrical)} cannot be solved; "
                f"leave it out, or name other tasks in data; {EASY} leaves it out where it must"
            )
        self.origin = {
            "data": f"scienceworld {self._machine.version}",
            "simplifications": self._settings.simplifications,
            # Results from before games were independent must not be mixed with these.
            "games": "independent",
            **({} if self._settings.steps is None else {"steps": self._settings.steps}),
        }

    def items(self) -> Sequence[Item]:
        simulator = self._machine.simulator()
        every = [item for task in self._tasks for item in self._items_of(simulator, task)]
        described = []
        for item in some_items(every, self._options):
            game = self._game(item.id)
            simulator.load(game.task, game.variation, game.simplifications, False)
            described.append(dataclasses.replace(item, question=simulator.getTaskDescription().strip()))
        return described

    def episode(self, item: str) -> "ScienceWorldEpisode":
        return ScienceWorldEpisode(self._games, self._game(item))

    def expert(self, item: str) -> Sequence[str]:
        """The package's gold path of an item."""
        return self._games.gold(self._game(item))

    def random(self, item: str, seed: int) -> Sequence[str]:
        game = self._game(item)
        draw = random.Random(f"{game.task} {game.variation} {seed}")
        simulator, actions, done = self._games.begun(game), list[str](), False
        while not done and len(actions) < self._settings.limit_of(game.task):
            # Sorted, since their order is Java's own.
            actions.append(draw.choice(sorted(set(simulator.getValidActionObjectCombinations()))))
            simulator.step(actions[-1])
            done = _is_over(simulator)
        return actions

    def _items_of(self, simulator: Simulator, task: str) -> list[Item]:
        """The variations of a task, without their questions."""
        simulator.load(task, 0, self._settings.simplifications, False)
        splits = {
            "train": simulator.getVariationsTrain(),
            "dev": simulator.getVariationsDev(),
            "test": simulator.getVariationsTest(),
        }
        return [
            Item(
                id=f"{task}/variation-{variation}",
                question="",
                split=split,
                task_type=task,
                family=(task,),
                max_steps=self._settings.limit_of(task),
            )
            for split, variations in splits.items()
            for variation in variations
        ]

    def _game(self, id: str) -> Game:
        task, _, variation = id.partition("/variation-")
        if task not in self._tasks or not variation.isdigit():
            raise WorldError(f"{id} is no item of ScienceWorld, expected one such as boil/variation-12")
        return Game(task, int(variation), self._settings.simplifications)


class ScienceWorldEpisode:
    """One variation of a task, from its start."""

    def __init__(self, games: Games, game: Game) -> None:
        self._games, self._game = games, game
        self._number, self._actions = games.number(), list[str]()

    def start(self) -> Outcome:
        simulator = self._games.at(self._number, self._game, [])
        shown = [
            RULES.format(actions=", ".join(sorted(set(simulator.getPossibleActions())))),
            simulator.getTaskDescription(),
            simulator.freeActionLook(),
            simulator.freeActionInventory(),
        ]
        return Outcome("\n\n".join(text.strip() for text in shown))

    def step(self, action: str) -> Outcome:
        simulator = self._games.at(self._number, self._game, self._actions)
        text = simulator.step(action)
        self._actions.append(action)
        points, done = _points(simulator), _is_over(simulator)
        if done:
            self._games.end(self._number)
        return Outcome(
            text.strip(),
            done=done,
            success=points == 100,
            score=points / 100,
            steps=len(self._actions),
            facts={"points": points},
        )


def _points(simulator: Simulator) -> int:
    """The published score, from -100 to 100."""
    return round(100 * simulator.getScore())


def _is_over(simulator: Simulator) -> bool:
    """A game is over when it is completed, or failed: then the score is negative."""
    return simulator.getCompleted() or _points(simulator) < 0


def _known(name: str, given: Iterable[str], known: Iterable[str]) -> list[str]:
    """What was given, each once.

    Raises:
        InputError: some of it is not known.
    """
    given, known = list(dict.fromkeys(str(one) for one in given)), [str(one) for one in known]
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"{name} is {','.join(unknown)}, expected some of {', '.join(known)}")
    return given
