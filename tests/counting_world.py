"""A world for tests: count up to a goal. It hangs or dies once, always, or never, as its options say."""

import os
import signal
import time
from pathlib import Path

from interlat.environments.protocol import Item, Outcome
from interlat.environments.world import some_items
from interlat.environments.world_environment import WorldEnvironment
from interlat.errors import InputError


class CountingWorld:
    def __init__(self, options):
        if options.options.get("refuse"):
            raise InputError("refuse is set, expected nothing")
        mark = Path(options.options.get("loading", os.devnull))
        if mark.is_file():
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        self.options = options.options
        self.origin = {"data": "numbers"}
        self._items = some_items(
            [
                Item(
                    f"count/{n}",
                    f"count to {n}",
                    split=("even", "odd")[n % 2],
                    family=("count", str(n)),
                    max_steps=n + 2,
                )
                for n in range(1, 7)
            ],
            options,
        )

    def items(self):
        return self._items

    def episode(self, item):
        return CountingEpisode(int(item.split("/")[1]), self.options)

    def expert(self, item):
        return [str(n) for n in range(1, int(item.split("/")[1]) + 1)]


class CountingEpisode:
    def __init__(self, goal, options):
        self.goal, self.options, self.reached, self.steps = goal, options, 0, 0

    def start(self):
        return Outcome(f"count to {self.goal}")

    def step(self, action):
        mark = Path(self.options.get("mark", os.devnull))
        if action == self.options.get("fails_at") and (self.options.get("always") or not mark.exists()):
            mark.touch()
            if self.options["how"] == "hang":
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "raise":
            raise InputError("action is raise, expected a number")
        self.steps += 1
        self.reached += action == str(self.reached + 1)
        won = self.reached == self.goal
        return Outcome(f"at {self.reached}", won, won, self.reached / self.goal, self.steps)


class Counting(WorldEnvironment):
    """Counting."""

    name = "counting"
    world = "counting_world:CountingWorld"

    def random_action(self, item, seen, draw):
        return str(draw.randint(1, 6))
