"""ScienceWorld as an environment of `interlat evaluate`."""

from collections.abc import Iterator

from interlat.environments.protocol import Item, Policy
from interlat.environments.world_environment import WorldEnvironment


class ScienceWorld(WorldEnvironment):
    """Experiments of elementary science (ScienceWorld; needs Java). ``data``: names of tasks; nothing for all 30."""

    name = "scienceworld"
    world = "interlat.environments.scienceworld.world:ScienceWorldWorld"
    seconds = 300.0  # an action takes milliseconds, but one after a restart comes with all that were before it

    def random_policy(self, item: Item, seed: int) -> Policy:
        """Draws from the valid actions. The world draws, since what is valid is known there alone."""

        def drawn() -> Iterator[str]:
            yield from self._pool.ask("random", item.id, seed)

        actions = drawn()  # nothing is drawn before the first turn
        return lambda _: next(actions, "")
