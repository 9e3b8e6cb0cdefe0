"""ALFWorld in text (arXiv 2010.03768): the real TextWorld engine, one game at a time.

Success is `Observation.won`. The engine has no step limit of its own; whoever plays keeps one and records it.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from interlat.environments.alfworld.fast import install
from interlat.environments.alfworld.scene import INSTALL_HINT, constants, supports_of
from interlat.environments.alfworld.splits import SPLIT_FOLDERS, check_split
from interlat.environments.protocol import Observation
from interlat.errors import InputError, WorldError

_OPENING_LIST = re.compile(r"you see (.+?)\.", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """Where everything is at the start of a game, in the names that the engine prints ("drawer 3", "apple 1").

    Types are the lower-case words of those names.
    """

    task_type: str
    target_type: str
    parent_type: str
    """Type of the goal receptacle; empty for look_at."""
    toggle_type: str
    """Type of the lamp; empty but for look_at."""
    receptacles: tuple[str, ...]
    """In the order of the opening text."""
    openable: frozenset[str]
    """Receptacles that are closed at the start."""
    objects: dict[str, str]
    """Object -> the receptacle that holds it."""

    @cached_property
    def object_types(self) -> dict[str, str]:
        """Object -> type."""
        return {name: type_of(name) for name in self.objects}

    @cached_property
    def receptacle_types(self) -> dict[str, str]:
        """Receptacle -> type."""
        return {name: type_of(name) for name in self.receptacles}

    def plausible_places(self, object_type: str) -> list[str]:
        """Receptacles that can hold an object type, those of the goal's type left out, in the opening order."""
        kinds = {kind.lower() for kind in _supports_by_lower_name()[object_type]} - {self.parent_type}
        return [name for name in self.receptacles if self.receptacle_types[name] in kinds]


def type_of(name: str) -> str:
    """The type in an engine name: "drawer 3" -> "drawer"."""
    return name.rsplit(" ", 1)[0]


@cache
def _supports_by_lower_name() -> dict[str, frozenset[str]]:
    return {kind.lower(): supports for kind, supports in supports_of().items()}


def find_games(root: str | Path | None, split: str) -> list[Path]:
    """The game files of a split, sorted.

    Args:
        root: a folder that holds ``json_2.1.1`` or is it; None takes ``$ALFWORLD_DATA``.
        split: train, seen or unseen.

    Raises:
        InputError: unknown split.
        WorldError: there is no such folder or no game in it; says how to get games.
    """
    check_split(split)
    if root is None and not os.environ.get("ALFWORLD_DATA"):
        raise WorldError(
            "no ALFWorld games: set ALFWORLD_DATA to the folder of the official games, "
            f"or author some with `interlat worlds make alfworld --output DIR --games N --split {split} --seed 0`"
        )
    base = Path(root if root is not None else os.environ["ALFWORLD_DATA"])
    inner = base / "json_2.1.1"
    folder = (inner if inner.is_dir() else base) / SPLIT_FOLDERS[split]
    games = sorted(folder.glob("*/*/game.tw-pddl"))
    if not games:
        raise WorldError(
            f"no games under {folder}: run `alfworld-download`, "
            f"or `interlat worlds make alfworld --output {base} --games N --split {split} --seed 0`"
        )
    return games


def item_of(path: str | Path) -> str:
    """The id of a game: its task folder and trial folder."""
    return "/".join(Path(path).parts[-3:-1])


class AlfworldGame:
    """One engine that plays one game at a time.

    Several may live in one process as long as calls do not overlap: each has a copy of the native library of its own.
    An engine that is closed is used again, because such a copy cannot be unloaded safely.
    """

    _idle: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        self._environment: Any = AlfworldGame._idle.pop() if AlfworldGame._idle else _new_environment()
        self._is_loaded = False
        self._opening: Observation | None = None
        self._start_facts: list[Any] = []
        self._trajectory: dict[str, Any] = {}
        self._steps = 0
        self._won = False

    def load(self, path: str | Path) -> None:
        """Make a game file the current game.

        Raises:
            WorldError: the file or its ``traj_data.json`` is missing or no game.
        """
        # A game file may be missing, cut off, or JSON but no game for the engine's two parsers.
        from fast_downward.translate.pddl_parser.lisp_parser import ParseError
        from tatsu.exceptions import FailedParse  # type: ignore[import-untyped]

        target = Path(path)
        self._is_loaded, self._opening = False, None
        try:
            self._trajectory = json.loads((target.parent / "traj_data.json").read_text())
            self._environment.load(str(target))
        except (OSError, json.JSONDecodeError, KeyError, ParseError, FailedParse) as error:
            raise WorldError(
                f"{target} is not a playable ALFWorld game ({error}); author or download it again"
            ) from error
        self._is_loaded = True
        self._start_facts = list(self._environment._pddl_state.facts)

    def reset(self) -> Observation:
        """Start the current game anew."""
        if not self._is_loaded:
            raise InputError("no game is loaded; call load(path) first")
        self._steps, self._won = 0, False
        self._opening = self._observe(self._environment.reset())
        return self._opening

    def step(self, command: str) -> Observation:
        """Give one command; one the engine does not know costs a step and changes nothing.

        Raises:
            InputError: the game was not started, or is won.
        """
        if self._opening is None:
            raise InputError("the game has not been started; call reset() first")
        if self._won:
            raise InputError("the game is won and takes no more commands; call reset() to play it again")
        self._steps += 1
        state, _, _ = self._environment.step(command)
        return self._observe(state)

    def _observe(self, state: Any) -> Observation:
        self._won = bool(state["won"])
        commands = tuple(state["admissible_commands"])
        return Observation(state.feedback.strip(), commands, won=self._won, done=self._won, steps=self._steps)

    @property
    def task_type(self) -> str:
        """One of ALFRED's task types."""
        return str(self._trajectory["task_type"])

    @property
    def floor(self) -> int:
        """ALFRED's scene number."""
        return int(self._trajectory["scene"]["scene_num"])

    def layout(self) -> Layout:
        """Where everything is at the start; knows more than any agent may. A game in progress goes on."""
        opening = self._opening or self.reset()
        parameters = self._trajectory["pddl_params"]
        names = {identifier: info.name.strip() for identifier, info in self._environment._entity_infos.items()}

        def pairs(relation: str) -> Iterable[tuple[str, ...]]:
            about = [fact for fact in self._start_facts if fact.name == relation]
            return (tuple(names[variable.name] for variable in fact.arguments) for fact in about)

        listed = _OPENING_LIST.search(opening.text)
        described = re.split(r",\s*(?:and\s+)?", listed.group(1)) if listed else []
        return Layout(
            task_type=self.task_type,
            target_type=parameters["object_target"].lower(),
            parent_type=parameters["parent_target"].lower(),
            toggle_type=parameters["toggle_target"].lower(),
            receptacles=tuple(part.removeprefix("and ").removeprefix("a ").strip() for part in described),
            openable=frozenset(arguments[0] for arguments in pairs("openable")),
            objects=dict(sorted((arguments[0], arguments[1]) for arguments in pairs("inreceptacle"))),
        )

    def close(self) -> None:
        """Give the engine back; this object plays no more."""
        AlfworldGame._idle.append(self._environment)
        self._is_loaded, self._opening = False, None
        del self._environment


def _new_environment() -> Any:
    constants()
    try:
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler

        install()
        from textworld.envs import PddlEnv
    except ModuleNotFoundError as error:
        raise WorldError(f"{INSTALL_HINT} ({error.name} is missing)") from error
    return AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)), shuffle=False)
