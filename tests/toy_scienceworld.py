"""A stand-in for the simulator of ScienceWorld: a thing is found by its number, and a wrong one fails the task."""

from interlat.environments.scienceworld.environment import ScienceWorld
from interlat.environments.scienceworld.world import ScienceWorldWorld

VARIATIONS = {"find": 8, "heat": 4}
ELECTRICAL = "power-component"


class ToySimulator:
    electrical = False

    def __init__(self):
        self.loads, self.taken = [], None

    def load(self, task, variation, simplifications, gold):
        assert 0 <= variation < VARIATIONS[task]
        self.loads.append((task, variation, simplifications))
        self.gold, self.taken = gold, []

    @property
    def loaded(self):
        return self.loads[-1]

    def step(self, action):
        self.taken.append(action)
        return f"\n{self.loaded[0]} {self.loaded[1]}: {action}, move {len(self.taken)}\n"

    def getScore(self):
        task, variation, _ = self.loaded
        if "focus on wrong" in self.taken:
            return -1.0
        # Floating point, as the package's: 29 hundredths are 28.999...
        return 1.0 if f"use {task} {variation}" in self.taken else 0.29 * ("open door" in self.taken)

    def getCompleted(self):
        return self.getScore() in (-1.0, 1.0)

    def getTaskDescription(self):
        return f"Your task is to {self.loaded[0]} number {self.loaded[1]}. \n"

    def freeActionLook(self):
        return "This room is called the hall."

    def freeActionInventory(self):
        return "In your inventory, you see:\n\tan orange"

    def getTaskNames(self):
        return [*VARIATIONS, ELECTRICAL] if self.electrical else list(VARIATIONS)

    def getPossibleSimplifications(self):
        return "noElectricalAction, openDoors, teleportAction"

    def getPossibleActions(self):
        return ["use OBJ", "open OBJ", "focus on OBJ", "open OBJ"]

    def getValidActionObjectCombinations(self):
        offered = ["open door", "wait", "look around"]
        return offered if len(self.taken) % 2 else offered[::-1]

    def getGoldActionSequence(self):
        task, variation, _ = self.loaded
        return ["open door", f"use {task} {variation}"] if self.gold else ["ERROR"]

    def _part(self, begin, end):
        return list(range(VARIATIONS[self.loaded[0]]))[begin:end]

    def getVariationsTrain(self):
        return self._part(0, -2)

    def getVariationsDev(self):
        return self._part(-2, -1)

    def getVariationsTest(self):
        return self._part(-1, None)


class ToyMachine:
    version = "0.0"

    def __init__(self):
        self.made = []

    def simulator(self):
        self.made.append(ToySimulator())
        return self.made[-1]


class ToyScienceWorldWorld(ScienceWorldWorld):
    def __init__(self, options):
        super().__init__(options, ToyMachine())


class ToyScienceWorld(ScienceWorld):
    world = "toy_scienceworld:ToyScienceWorldWorld"
