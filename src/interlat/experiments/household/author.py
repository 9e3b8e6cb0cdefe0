"""Author ALFWorld games without downloads, in the folder layout of the official game files.

    <output>/json_2.1.1/<train|valid_seen|valid_unseen>/<task>-<Object>-None-<Receptacle|Lamp>-<floor>/trial_T.../
        traj_data.json, initial_state.pddl, game.tw-pddl

These are not the official 3,553 / 140 / 134 games: engine, vocabulary, floor plans and scene split are ALFWorld's,
the placement of the objects is drawn here.
"""

import json
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.scene import (
    LAMPS,
    SCENE_NUMBERS,
    Location,
    Scene,
    build_scene,
    constants,
    floors_of,
    is_placeable,
    supports_of,
)
from interlat.environments.alfworld.splits import SPLIT_FOLDERS, check_split
from interlat.errors import InputError, WorldError
from interlat.files import write_atomically
from interlat.tasks.conversations import TASK_TYPES as TASK_TYPES

_TOOLS = {
    "pick_clean_then_place_in_recep": ("SinkBasin", "Cleanable"),
    "pick_heat_then_place_in_recep": ("Microwave", "Heatable"),
    "pick_cool_then_place_in_recep": ("Fridge", "Coolable"),
}


@dataclass(frozen=True)
class AuthorOptions:
    """How full and how large the generated rooms are."""

    maximum_receptacles: int | None = None
    """Remove drawers, cabinets and shelves until a room has at most this many receptacles. None keeps whole rooms."""
    density: float = 0.8
    """Probability, 0 to 1, that an object type of the floor plan is present as a distractor."""
    exact_targets: bool = False
    """Place exactly as many target objects as the task needs. Otherwise there are up to two more."""
    task_types: tuple[str, ...] = TASK_TYPES
    """Task types, used in turn. Naming one twice doubles its share."""
    minimum_places: int = 1
    """Leave out games where a needed object has fewer possible receptacles than this.
    Receptacles of the goal's type do not count."""
    legacy_text: bool = False
    """Use the texts of the first game files: "You arrive at loc 5.", "put X in/on Y", no help command."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.task_types) - set(TASK_TYPES))
        if unknown or not self.task_types:
            raise InputError(f"unknown task types {unknown}; choose from {', '.join(TASK_TYPES)}")
        if not 0 <= self.density <= 1:
            raise InputError(f"density is {self.density}; it must lie between 0 and 1")


MINI_ROOMS = AuthorOptions(
    maximum_receptacles=12,
    density=0.2,
    exact_targets=True,
    task_types=(*TASK_TYPES, "pick_two_obj_and_place", "look_at_obj_in_light"),
    minimum_places=6,
)
"""Small rooms where the search decides; half of the games need two objects whose places are in doubt."""


@dataclass(frozen=True)
class Task:
    """What a game asks for."""

    task_type: str
    target_type: str
    parent_type: str
    """Type of the goal receptacle; empty for look_at."""
    toggle_type: str
    """Type of the lamp; empty but for look_at."""


def author_games(
    output: str | Path, count: int, split: str, seed: int, options: AuthorOptions | None = None
) -> Iterator[Path]:
    """Write ``count`` games and yield the path of each ``game.tw-pddl`` once it is whole on the disk.

    The same arguments give the same bytes on any machine. The chance behind a game includes the split, and the trial
    number tells the split, so that no seen game is a train game.

    Raises:
        InputError: unknown split, or a count below one.
        WorldError: ALFWorld is not installed, or a file of another game stands where one belongs.
    """
    check_split(split)
    if count < 1:
        raise InputError(f"the number of games is {count}; it must be at least 1")
    options = options or AuthorOptions()
    goals_valid = constants().GOALS_VALID
    floors = {
        task_type: [
            floor for floor in floors_of(split) if any(floor in SCENE_NUMBERS[room] for room in goals_valid[task_type])
        ]
        for task_type in options.task_types
    }
    chance = random.Random(f"games/{split}/{seed}")
    written = attempt = 0
    while written < count:
        attempt += 1
        if attempt > 200 * count + 1000:
            raise WorldError(
                f"only {written} of {count} games found under these options; "
                "allow more receptacles or fewer minimum_places"
            )
        task_type = options.task_types[written % len(options.task_types)]
        floor = chance.choice(floors[task_type])
        trial = f"T{list(SPLIT_FOLDERS).index(split)}{seed:06d}{attempt:06d}"
        drawn = furnish(task_type, floor, f"{split}/{seed}/{attempt}", options)
        if drawn is None:
            continue
        yield _write_game(Path(output), split, trial, *drawn, chance, options.legacy_text)
        written += 1


def furnish(task_type: str, floor: int, seed: str, options: AuthorOptions) -> tuple[Scene, Task] | None:
    """A furnished room and a task in it; None where the floor plan has no such task."""
    rng = random.Random(f"{task_type}/{floor}/{seed}")
    scene = build_scene(floor, rng, options.maximum_receptacles)
    possible = _possible_tasks(task_type, scene, options.minimum_places)
    if not possible:
        return None
    # The object is drawn before the goal: objects with many goals would otherwise crowd out the others.
    target_type = rng.choice(sorted({task.target_type for task in possible}))
    task = rng.choice([task for task in possible if task.target_type == target_type])
    needed = 2 if task_type == "pick_two_obj_and_place" else 1
    surplus = 0 if options.exact_targets else rng.choice([0, 0, 1, 2 if needed == 1 else 1])
    goal_types = (task.parent_type,) if task.parent_type else ()
    for _ in range(needed + surplus):
        if scene.place(target_type, rng, goal_types) is None:
            return None
    if task.toggle_type and scene.place(task.toggle_type, rng) is None:
        return None
    for object_type in scene.object_types:
        is_second_lamp = bool(task.toggle_type) and object_type in LAMPS
        if not is_placeable(object_type) or object_type == target_type or is_second_lamp:
            continue
        if rng.random() < options.density:
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                scene.place(object_type, rng)
    return scene, task


def _possible_tasks(task_type: str, scene: Scene, minimum_places: int) -> list[Task]:
    present = {kind for kind, _ in scene.receptacles.values()}
    candidates = [kind for kind in scene.object_types if is_placeable(kind) and kind not in LAMPS]
    if task_type == "look_at_obj_in_light":
        if len(scene.supporting("DeskLamp")) < minimum_places:
            return []
        return [
            Task(task_type, kind, "", "DeskLamp")
            for kind in candidates
            if len(scene.supporting(kind)) >= minimum_places
        ]
    tool_type, property_name = _TOOLS.get(task_type, ("", ""))
    if tool_type and tool_type not in present:
        return []
    treatable: Collection[str] = constants().VAL_ACTION_OBJECTS[property_name] if property_name else candidates
    return [
        Task(task_type, kind, goal, "")
        for kind in candidates
        if kind in treatable
        for goal in sorted(supports_of()[kind] & present)
        if goal != tool_type and len(scene.supporting(kind, (goal,))) >= max(1, minimum_places)
    ]


def problem_text(name: str, scene: Scene, task: Task) -> str:
    """The game as a PDDL problem of ALFWorld's domain, identifiers mangled as the engine wants them."""
    tables = constants()
    receptacle_types = sorted(set(tables.RECEPTACLES) - set(tables.MOVABLE_RECEPTACLES_SET))
    object_types = sorted(set(tables.OBJECTS_SET) - set(receptacle_types))
    openable = set(tables.OPENABLE_CLASS_LIST) - {"Box"}
    stands = sorted({stand for _, stand in scene.receptacles.values()} | {scene.agent})
    lines = [f"(define (problem {name})", "(:domain alfred)", "(:objects", "agent1 # agent"]
    lines += [f"{kind}Type # otype" for kind in object_types] + [f"{kind}Type # rtype" for kind in receptacle_types]
    lines += [f"{name} # object" for name in sorted(scene.objects)]
    lines += [f"{name} # receptacle" for name in sorted(scene.receptacles)]
    lines += [f"{_stand_name(stand)} # location" for stand in stands] + [")", "(:init"]
    for receptacle, (kind, stand) in sorted(scene.receptacles.items()):
        lines += [
            f"(receptacleType {receptacle} {kind}Type)",
            f"(receptacleAtLocation {receptacle} {_stand_name(stand)})",
        ]
        lines += [f"(openable {receptacle})"] if kind in openable else []
    present = sorted(set(scene.objects.values()) - LAMPS)
    for kind in sorted({kind for kind, _ in scene.receptacles.values()}):
        lines += [
            f"(canContain {kind}Type {object_type}Type)"
            for object_type in present
            if kind in supports_of()[object_type]
        ]
    abilities = {"Cleanable": "cleanable", "Heatable": "heatable", "Coolable": "coolable", "Sliceable": "sliceable"}
    for object_id, kind in sorted(scene.objects.items()):
        receptacle = scene.inside[object_id]
        lines += [
            f"(objectType {object_id} {kind}Type)",
            f"(inReceptacle {object_id} {receptacle})",
            f"(objectAtLocation {object_id} {_stand_name(scene.receptacles[receptacle][1])})",
            f"({'toggleable' if kind in LAMPS else 'pickupable'} {object_id})",
        ]
        lines += [
            f"({predicate} {object_id})"
            for ability, predicate in abilities.items()
            if kind in tables.VAL_ACTION_OBJECTS[ability]
        ]
        lines += [f"(isReceptacleObject {object_id})"] if kind in tables.MOVABLE_RECEPTACLES_SET else []
    lines += [f"(atLocation agent1 {_stand_name(scene.agent)})", ")"]
    goal = _goal_library()[task.task_type]["pddl"].format(
        obj=task.target_type, recep=task.parent_type, toggle=task.toggle_type, mrecep=""
    )
    return _mangle("\n".join(lines)) + "\n" + _mangle(goal)


def _stand_name(stand: Location) -> str:
    return "loc|" + "|".join(map(str, stand))


def _mangle(text: str) -> str:
    words = {"-": "_minus_", "#": "-", "|": "_bar_", "+": "_plus_", ".": "_dot_", ",": "_comma_"}
    return text.translate({ord(symbol): word for symbol, word in words.items()})


@cache
def _goal_library() -> Any:
    constants()
    from alfworld.gen.goal_library import gdict

    return gdict


@cache
def _engine_files() -> tuple[str, str]:
    constants()
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    return Path(ALFRED_PDDL_PATH).read_text(), Path(ALFRED_TWL2_PATH).read_text()


@cache
def _legacy_files() -> tuple[str, str]:
    domain, grammar = _engine_files()
    for new, old in (
        ("You arrive at {r.name}.", "You arrive at {lend.name}."),
        ('"move {o} to {r}"', '"put {o} in/on {r}"'),
        ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
    ):
        grammar = grammar.replace(new, old)
    domain = domain[: domain.index("(:action help")].rstrip() + "\n)\n"
    return domain, grammar[: grammar.index("action help {")]


def _write_game(
    output: Path,
    split: str,
    trial: str,
    scene: Scene,
    task: Task,
    chance: random.Random,
    legacy_text: bool,
) -> Path:
    goal = task.parent_type or task.toggle_type
    name = "-".join([task.task_type, task.target_type, "None", goal, str(scene.floor)])
    folder = output / "json_2.1.1" / SPLIT_FOLDERS[split] / name / f"trial_{trial}"
    words = {"obj": task.target_type.lower(), "recep": task.parent_type.lower(), "toggle": task.toggle_type.lower()}
    descriptions = [template.format(mrecep="", **words) for template in _goal_library()[task.task_type]["templates"]]
    trajectory = {
        "task_id": f"trial_{trial}",
        "task_type": task.task_type,
        "pddl_params": {
            "object_target": task.target_type,
            "parent_target": task.parent_type,
            "toggle_target": task.toggle_type,
            "mrecep_target": "",
            "object_sliced": False,
        },
        "scene": {"floor_plan": f"FloorPlan{scene.floor}", "scene_num": scene.floor},
        "turk_annotations": {"anns": [{"task_desc": text, "high_descs": []} for text in descriptions]},
    }
    domain, grammar = _legacy_files() if legacy_text else _engine_files()
    problem = problem_text(f"plan_trial_{trial}", scene, task)
    game = {
        "pddl_domain": domain,
        "grammar": grammar.replace("UNKNOWN GOAL", chance.choice(descriptions)),
        "pddl_problem": problem,
        "solvable": True,
        "walkthrough": None,
    }
    contents = {
        "traj_data.json": json.dumps(trajectory),
        "initial_state.pddl": problem,
        "game.tw-pddl": json.dumps(game),
    }
    for file_name, content in contents.items():
        path = folder / file_name
        if path.exists():
            if path.read_text() != content:
                raise WorldError(f"{path} holds another game; choose another output folder or seed")
        else:
            write_atomically(path, content)
    return folder / "game.tw-pddl"
