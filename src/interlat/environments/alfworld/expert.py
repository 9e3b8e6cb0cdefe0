"""An expert for ALFWorld games that searches in an order it is given and then does what the task needs.

It acts on observations alone; the layout tells it the names in the room and, without a search order, where to look.
"""

import re
from collections.abc import Sequence

from interlat.environments.alfworld.game import Layout, type_of
from interlat.environments.protocol import Observation

TOOLS = {
    "pick_clean_then_place_in_recep": ("clean", "sinkbasin"),
    "pick_heat_then_place_in_recep": ("heat", "microwave"),
    "pick_cool_then_place_in_recep": ("cool", "fridge"),
}
"""Task type -> the verb and the receptacle type that treats the object."""

NOTHING_HAPPENS = "Nothing happens."
"""What a game answers to a command that it does not accept."""

_SEEN_OBJECT = re.compile(r"\ba ([a-z]+ \d+)")


def needs_of(layout: Layout) -> tuple[tuple[str, str], ...]:
    """The objects whose places decide a task, as (type, name of the instance), in the order of need.

    Two instances of the target for "pick two", the target and the lamp for "look at", else the target.
    """
    targets = sorted(name for name, kind in layout.object_types.items() if kind == layout.target_type)
    count = 2 if layout.task_type == "pick_two_obj_and_place" else 1
    needed = [(layout.target_type, name) for name in targets[:count]]
    if layout.toggle_type:
        lamps = sorted(name for name, kind in layout.object_types.items() if kind == layout.toggle_type)
        needed += [(layout.toggle_type, lamp) for lamp in lamps[:1]]
    return tuple(needed)


def first_of_type(layout: Layout, receptacle_type: str) -> str | None:
    """The receptacle of a type with the lowest number; None where there is none."""
    places = [name for name, kind in layout.receptacle_types.items() if kind == receptacle_type]
    return min(places, key=lambda name: int(name.rsplit(" ", 1)[1])) if places else None


def tool_of(layout: Layout) -> tuple[str, str] | None:
    """(verb, receptacle) of a clean, heat or cool task; None for the others."""
    if layout.task_type not in TOOLS:
        return None
    verb, kind = TOOLS[layout.task_type]
    place = first_of_type(layout, kind)
    return (verb, place) if place else None


def optimal_steps(layout: Layout) -> int:
    """Commands that the expert needs when it looks at the true places first."""
    location, opened, steps = "", set[str](), 0

    def visit(place: str) -> int:
        nonlocal location
        cost = int(place != location) + int(place in layout.openable and place not in opened)
        location = place
        opened.add(place)
        return cost

    tool, goal = tool_of(layout), first_of_type(layout, layout.parent_type)
    for kind, name in needs_of(layout):
        steps += visit(layout.objects[name]) + 1
        if kind == layout.toggle_type:
            continue
        if tool:
            steps += int(tool[1] != location) + 1
            location = tool[1]
        if goal:
            steps += visit(goal) + 1
    return steps


class Expert:
    """Plays one game; call `next_command` with each observation in turn."""

    def __init__(self, layout: Layout, search_orders: Sequence[Sequence[str]] | None = None) -> None:
        """Args:
        layout: the game.
        search_orders: for each needed object (`needs_of`) the places to look at, in order; places not named come
            last, in the order of the room. None looks at the true places first.
        """
        needed = needs_of(layout)
        orders = search_orders or [[layout.objects[name]] for _, name in needed]
        self._layout = layout
        self._orders = [[*order, *(p for p in layout.receptacles if p not in order)] for order in orders]
        self._target_types = [kind for kind, _ in needed]
        self._goal = first_of_type(layout, layout.parent_type)
        self._tool = tool_of(layout)
        self._known: dict[str, str] = {}
        self._inspected: set[str] = set()
        self._opened: set[str] = set()
        self._location = self._last = ""
        self._holding: str | None = None
        self._treated = False
        self._delivered: list[str] = []

    def next_command(self, observation: Observation) -> str:
        """The command to give after an observation."""
        self._take_in(observation)
        self._last = self._decide()
        if self._last.startswith("move ") and self._last not in observation.admissible_commands:
            self._last = f"put {self._holding} in/on {self._goal}"  # what games of ALFWorld before 0.4 call it
        return self._last

    @property
    def location(self) -> str:
        """The place where the agent stands; empty at the start."""
        return self._location

    def has_acted(self, command: str) -> None:
        """Say that another command than the last advised one was given; call it before `next_command`."""
        self._last = command

    def _take_in(self, observation: Observation) -> None:
        if not self._last or observation.text == NOTHING_HAPPENS:
            return
        verb, _, rest = self._last.partition(" ")
        if self._last.startswith("go to "):
            self._location = self._last.removeprefix("go to ")
            if self._location not in self._layout.openable or self._location in self._opened:
                self._inspected.add(self._location)
        elif verb == "open":
            self._opened.add(rest)
            self._inspected.add(rest)
        elif verb == "take":
            self._holding = rest.partition(" from ")[0]
            self._known.pop(self._holding, None)
        elif verb in ("move", "put"):
            assert self._holding is not None, "the engine let go of an object that was not held"
            self._delivered.append(self._holding)
            self._holding, self._treated = None, False
        elif verb in ("clean", "heat", "cool"):
            self._treated = True
        if verb in ("go", "open"):
            for name in _SEEN_OBJECT.findall(observation.text):
                if name in self._layout.objects and name not in self._delivered:
                    self._known[name] = self._location

    def _decide(self) -> str:
        layout = self._layout
        if self._holding is None:
            return self._find(layout.target_type, len(self._delivered), "take {name} from {place}")
        if layout.toggle_type:
            return self._find(layout.toggle_type, 1, "use {name}")
        if self._tool and not self._treated:
            verb, place = self._tool
            return self._arrive(place, opening=False) or f"{verb} {self._holding} with {place}"
        assert self._goal is not None, "every task but look_at has a goal receptacle"
        return self._arrive(self._goal) or f"move {self._holding} to {self._goal}"

    def _arrive(self, place: str, opening: bool = True) -> str | None:
        if self._location != place:
            return f"go to {place}"
        if opening and place in self._layout.openable and place not in self._opened:
            return f"open {place}"
        return None

    def _find(self, kind: str, need: int, command: str) -> str:
        known = sorted(name for name in self._known if type_of(name) == kind)
        here = [name for name in known if self._known[name] == self._location]
        for name in here or known:
            place = self._known[name]
            return self._arrive(place) or command.format(name=name, place=place)
        for place in self._orders[min(need, len(self._orders) - 1)]:
            if place not in self._inspected:
                return self._arrive(place) or "look"
        return "look"
