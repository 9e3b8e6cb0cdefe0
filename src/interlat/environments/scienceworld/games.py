"""Many games in one machine: as many simulators as its heap holds; the others are played again where they go on."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interlat.environments.scienceworld.simulator import Simulator


@dataclass(frozen=True)
class Game:
    """One variation of a task."""

    task: str
    variation: int
    simplifications: str


class Games:
    """Simulators by episode. One that gave way is played again, by the same actions.

    Args:
        make: makes a simulator, which does not depend on the others.
        kept: the most simulators at a time.
    """

    def __init__(self, make: Callable[[], Simulator], kept: int) -> None:
        self._make, self._kept = make, kept
        self._simulators: OrderedDict[int, Simulator] = OrderedDict()
        self._begun = 0

    def number(self) -> int:
        """A number for a new episode."""
        self._begun += 1
        return self._begun

    def at(self, number: int, game: Game, actions: Sequence[str]) -> Simulator:
        """The simulator of an episode in which these actions have been taken, and no others."""
        simulator = self._simulators.pop(number, None)
        if simulator is None:
            while len(self._simulators) >= self._kept:
                self._simulators.popitem(last=False)
            simulator = self.begun(game)
            for action in actions:
                simulator.step(action)
        self._simulators[number] = simulator
        return simulator

    def begun(self, game: Game) -> Simulator:
        """A new simulator at the start of a game."""
        simulator = self._make()
        simulator.load(game.task, game.variation, game.simplifications, False)
        # The package's own reset loads the same again, and takes this action before an agent takes its first.
        simulator.step("look around")
        return simulator

    def gold(self, game: Game) -> list[str]:
        """The package's own solution of a game, which it plays to find it."""
        simulator = self._make()
        simulator.load(game.task, game.variation, game.simplifications, True)
        return [str(action) for action in simulator.getGoldActionSequence()]

    def end(self, number: int) -> None:
        """Give up the simulator of an episode."""
        self._simulators.pop(number, None)
