"""TextCraft as an environment of `interlat evaluate`."""

import random
import re

from interlat.environments.protocol import Item, Outcome
from interlat.environments.world_environment import WorldEnvironment

_RECIPE = re.compile(r"^craft \d+ .+ using .+$", re.MULTILINE)
_GROUP = re.compile(r"^(.+): any one of (.+)$", re.MULTILINE)
_PARTS = re.compile(r"(\d+) ([^,]+)")


class TextCraft(WorldEnvironment):
    """Crafting an item by recipes (TextCraft). ``data``: nothing for Minecraft's recipes, bundled, or a file."""

    name = "textcraft"
    world = "interlat.environments.textcraft.world:TextCraftWorld"

    def random_action(self, item: Item, seen: Outcome, draw: random.Random) -> str:
        """A recipe that is shown, with random members of its groups, or something that it needs."""
        groups = {name: members.split(", ") for name, members in _GROUP.findall(item.question)}
        recipe = draw.choice(_RECIPE.findall(item.question))
        made, _, using = recipe.partition(" using ")
        parts = [(count, draw.choice(groups.get(name, [name]))) for count, name in _PARTS.findall(using)]
        if draw.random() < 0.5:
            count, name = draw.choice(parts)
            return f"get {count} {name}"
        return f"{made} using {', '.join(f'{count} {name}' for count, name in parts)}"
