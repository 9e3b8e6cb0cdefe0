"""ALFWorld as an environment of `interlat evaluate`."""

from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.world_environment import SelfDrawingEnvironment
from interlat.progress import say


class Alfworld(SelfDrawingEnvironment):
    """Household tasks in text (ALFWorld). ``data``: the folder of its games; nothing for ``$ALFWORLD_DATA``."""

    name = "alfworld"
    world = "interlat.environments.alfworld.world:AlfworldWorld"
    reply_tokens = 100  # as in the published runs
    seconds_to_load = 8 * 3600.0  # about a second a game, and all splits have 3,827

    def __init__(self, options: EnvironmentOptions) -> None:
        super().__init__(options)
        if skipped := self.origin["skipped"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
            say(f"alfworld: {self.origin['games']} games; left out as ALFWorld's own loader does: {reasons}")
