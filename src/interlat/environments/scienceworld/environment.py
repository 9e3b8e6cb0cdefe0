"""ScienceWorld as an environment of `interlat evaluate`."""

from interlat.environments.world_environment import SelfDrawingEnvironment


class ScienceWorld(SelfDrawingEnvironment):
    """Experiments of elementary science (ScienceWorld; needs Java). ``data``: names of tasks; nothing for all 30."""

    name = "scienceworld"
    world = "interlat.environments.scienceworld.world:ScienceWorldWorld"
    seconds = 300.0  # an action takes milliseconds, but one after a restart comes with all that were before it
