"""A furnished room for an ALFWorld game: receptacles of a real floor plan, objects placed by chance.

Floor plans, affordances and scene split come from the `alfworld` package (ALFRED, arXiv 1912.01734); which object
lies where is drawn here.
"""

import functools
import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from interlat.errors import WorldError

INSTALL_HINT = 'ALFWorld is not installed; run: pip install "interlat[alfworld]"'
KITCHENS, LIVING_ROOMS, BEDROOMS, BATHROOMS = (range(start, start + 30) for start in (1, 201, 301, 401))
SCENE_NUMBERS = {"Kitchen": KITCHENS, "LivingRoom": LIVING_ROOMS, "Bedroom": BEDROOMS, "Bathroom": BATHROOMS}

# The floor plans name these receptacle types among their objects but give no ids for them: how many to put in.
_SINGLE_RECEPTACLES = (
    "CoffeeMachine", "Toaster", "GarbageCan", "ToiletPaperHanger", "TowelHolder", "Toilet", "BathtubBasin",
    "SideTable", "LaundryHamper", "Dresser", "Desk", "Ottoman", "Cart", "Safe", "Bed", "CoffeeTable", "DiningTable",
    "ArmChair", "Sofa", "TVStand", "CounterTop", "Fridge", "Microwave",
)  # fmt: skip
_UNLISTED_RECEPTACLES = dict.fromkeys(_SINGLE_RECEPTACLES, 1) | {
    "StoveBurner": 4, "HandTowelHolder": 2, "SinkBasin": 2, "Shelf": 3, "Drawer": 4, "Cabinet": 4,
}  # fmt: skip
_FIXED_OBJECTS = (
    "Window", "Mirror", "LightSwitch", "Painting", "Blinds", "Curtains", "Chair", "HousePlant", "StoveKnob",
    "Television", "Poster", "ShowerDoor", "ShowerGlass", "LaundryHamperLid", "Sink", "Bathtub", "Footstool",
)  # fmt: skip
# Supports that the affordance table of the package lacks.
_EXTRA_SUPPORTS = {
    "TeddyBear": ("Bed", "Sofa", "ArmChair", "Desk"),
    "Boots": ("Bed",),
    "ScrubBrush": ("Toilet", "GarbageCan"),
    "DeskLamp": ("Desk", "SideTable", "Dresser", "CoffeeTable", "DiningTable", "Shelf"),
}
# A floor lamp stands on no receptacle, so the text engine can never satisfy "look at under the lamp" with it.
LAMPS = frozenset({"DeskLamp"})
_MANY_OF_A_KIND = frozenset({"Drawer", "Cabinet", "Shelf", "StoveBurner"})

Location = tuple[int, int, int, int]


@functools.cache
def constants() -> Any:
    """ALFWorld's tables of types and affordances.

    Raises:
        WorldError: the package is not installed; names the line that installs it.
    """
    # At its import the package makes the folder $ALFWORLD_DATA, or one in the user's home where that is not set.
    games = os.environ.get("ALFWORLD_DATA")
    os.environ["ALFWORLD_DATA"] = tempfile.gettempdir()
    try:
        import alfworld.gen.constants as tables
    except ModuleNotFoundError as error:
        raise WorldError(INSTALL_HINT) from error
    finally:
        if games is None:
            del os.environ["ALFWORLD_DATA"]
        else:
            os.environ["ALFWORLD_DATA"] = games
    return tables


@functools.cache
def supports_of() -> dict[str, frozenset[str]]:
    """Object type -> the receptacle types that can hold it."""
    tables = constants()
    supports: dict[str, set[str]] = defaultdict(set)
    for receptacle_type, object_types in tables.VAL_RECEPTACLE_OBJECTS.items():
        if receptacle_type not in tables.MOVABLE_RECEPTACLES_SET:
            for object_type in object_types:
                supports[object_type].add(receptacle_type)
    for object_type, receptacle_types in _EXTRA_SUPPORTS.items():
        supports[object_type].update(receptacle_types)
    return {object_type: frozenset(types) for object_type, types in sorted(supports.items())}


def is_placeable(object_type: str) -> bool:
    """Whether an object of this type can lie in a receptacle at the start of a game."""
    return object_type in supports_of() and not object_type.endswith("Sliced") and object_type not in _FIXED_OBJECTS


def floors_of(split: str) -> list[int]:
    """ALFRED's scenes of a split: 24 floor plans of each room kind for train and seen, the other 6 for unseen."""
    training = set(constants().TRAIN_SCENE_NUMBERS)
    every = [floor for numbers in SCENE_NUMBERS.values() for floor in numbers]
    return [floor for floor in every if (floor in training) == (split != "unseen")]


def receptacle_type(receptacle_id: str) -> str:
    """The type in an id of the floor plan ("Sink|+01.2|...|SinkBasin" is a SinkBasin)."""
    parts = receptacle_id.split("|")
    return parts[-1] if "Basin" in receptacle_id else parts[0]


@dataclass
class Scene:
    """One room with its receptacles and the objects put into them so far."""

    floor: int
    object_types: list[str]
    """Types that the floor plan lists, sorted."""
    receptacles: dict[str, tuple[str, Location]]
    """Receptacle id -> (type, where the agent stands to use it)."""
    agent: Location
    objects: dict[str, str] = field(default_factory=dict)
    """Object id -> type."""
    inside: dict[str, str] = field(default_factory=dict)
    """Object id -> receptacle id."""

    def supporting(self, object_type: str, without_types: Collection[str] = ()) -> list[str]:
        """Ids of the receptacles that can hold an object type."""
        kinds = supports_of()[object_type]
        return [name for name, (kind, _) in self.receptacles.items() if kind in kinds and kind not in without_types]

    def place(self, object_type: str, rng: random.Random, without_types: Collection[str] = ()) -> str | None:
        """Put a new object into a random supporting receptacle; its id, or None where nothing can hold it.

        The receptacle's type is drawn first, so that twenty drawers do not swallow everything.
        """
        candidates = self.supporting(object_type, without_types)
        if not candidates:
            return None
        kind = rng.choice(sorted({self.receptacles[name][0] for name in candidates}))
        receptacle = rng.choice([name for name in candidates if self.receptacles[name][0] == kind])
        x, y, z = (float(number) for number in receptacle.split("|")[1:4])
        while True:
            spot = (x + rng.uniform(-0.4, 0.4), y + rng.uniform(0, 0.2), z + rng.uniform(-0.4, 0.4))
            object_id = "|".join([object_type, *(_coordinate(value) for value in spot)])
            if object_id not in self.objects:
                self.objects[object_id] = object_type
                self.inside[object_id] = receptacle
                return object_id


def _coordinate(value: float) -> str:
    return f"{value:+06.2f}"


def _location(x: float, z: float, rotation: float, horizon: float) -> Location:
    return round(x / 0.25), round(z / 0.25), int(rotation // 90), int(horizon)


@functools.cache
def _floor_plan(floor: int) -> tuple[dict[str, list[float]], list[str]]:
    constants()
    folder = resources.files("alfworld.gen") / "layouts"
    openable = json.loads((folder / f"FloorPlan{floor}-openable.json").read_text())
    return openable, sorted(json.loads((folder / f"FloorPlan{floor}-objects.json").read_text()))


def build_scene(floor: int, rng: random.Random, maximum_receptacles: int | None = None) -> Scene:
    """An empty room of a floor plan.

    Args:
        floor: ALFRED scene number, such as 1 or 227.
        rng: the only source of chance.
        maximum_receptacles: thin out drawers, cabinets, shelves and burners (at least one of each stays) until no more
            than this many receptacles are left; None keeps the whole room.
    """
    tables = constants()
    listed, object_types = _floor_plan(floor)
    fixed = set(tables.RECEPTACLES) - set(tables.MOVABLE_RECEPTACLES_SET)
    receptacles = {
        name: (receptacle_type(name), _location(*position))
        for name, position in listed.items()
        if receptacle_type(name) in fixed
    }
    known_types = {kind for kind, _ in receptacles.values()}
    stands = list(listed.values()) or [[0.0, 0.0, 0.0, 30.0]]
    for kind in object_types:
        if kind not in _UNLISTED_RECEPTACLES or kind in known_types:
            continue
        for number in range(_UNLISTED_RECEPTACLES[kind]):
            x, z, rotation, _ = rng.choice(stands)
            x, z = x + rng.choice([-0.25, 0.0, 0.25]), z + rng.choice([-0.25, 0.0, 0.25])
            parts = [kind.removesuffix("Basin"), *map(_coordinate, (x + rng.random(), 0.9, z + rng.random()))]
            name = "|".join([*parts, kind] if kind.endswith("Basin") else parts)
            receptacles.setdefault(name, (kind, _location(x, z, rotation, 45 + number)))
    if maximum_receptacles is not None:
        _thin_out(receptacles, maximum_receptacles, rng)
    # Two receptacles with one stand point would both be "here" for the agent, so each gets its own.
    taken: set[Location] = set()
    for name, (kind, (x, z, rotation, horizon)) in receptacles.items():
        while (x, z, rotation, horizon) in taken:
            horizon += 1
        taken.add((x, z, rotation, horizon))
        receptacles[name] = (kind, (x, z, rotation, horizon))
    agent = (0, 0, 0, 30)
    while agent in taken:
        agent = (rng.randint(-8, 8), rng.randint(-8, 8), rng.randint(0, 3), 30)
    return Scene(floor=floor, object_types=object_types, receptacles=receptacles, agent=agent)


def _thin_out(receptacles: dict[str, tuple[str, Location]], maximum: int, rng: random.Random) -> None:
    count = Counter(kind for kind, _ in receptacles.values())
    removable = [name for name, (kind, _) in receptacles.items() if kind in _MANY_OF_A_KIND]
    rng.shuffle(removable)
    for name in removable:
        if len(receptacles) <= maximum:
            return
        kind = receptacles[name][0]
        if count[kind] > 1:
            count[kind] -= 1
            del receptacles[name]
