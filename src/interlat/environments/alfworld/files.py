"""ALFWorld's folder of games: where it is, and which of its games the official loader takes."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.splits import SPLIT_FOLDERS
from interlat.errors import InputError, WorldError
from interlat.tasks.conversations import TASK_TYPES

GAME_FILE, TRAJECTORY_FILE = "game.tw-pddl", "traj_data.json"
VERSION = "json_2.1.1"
_DOWNLOADED = "~/.cache/alfworld"
HOW_TO_GET = (
    "get the official ones with `alfworld-download` and set ALFWORLD_DATA or data to their folder, or author some "
    "with `interlat worlds make alfworld --output DIR --count N --split unseen`"
)
_UNSUPPORTED = ("movable", "Sliced")
"""In the names of tasks that ALFWorld's loader leaves out: they need more than its text games can do."""


@dataclass(frozen=True)
class GameFile:
    """One game of the folder."""

    id: str
    """Split, task folder and trial folder."""
    path: Path
    """Its ``game.tw-pddl``."""
    task_type: str
    target_type: str
    """What it is about, such as Mug."""
    sha256: str
    """Of the game file."""

    @property
    def split(self) -> str:
        """Name of the folder of its split."""
        return self.id.partition("/")[0]


@dataclass(frozen=True)
class Found:
    """The games of some splits."""

    games: tuple[GameFile, ...]
    skipped: Counter[str] = field(default_factory=Counter)
    """Why games were left out -> how many."""

    @property
    def sha256(self) -> str:
        """Of the ids and contents of all games."""
        return hashlib.sha256("\n".join(f"{game.id} {game.sha256}" for game in self.games).encode()).hexdigest()


def data_folder(data: Sequence[str]) -> Path:
    """The folder with the folders of the splits.

    Args:
        data: at most one folder, which holds ``json_2.1.1`` or is it; nothing takes ``$ALFWORLD_DATA``, and where that
            is not set, the place to which ``alfworld-download`` writes.

    Raises:
        InputError: several folders.
        WorldError: there is no such folder, or no folder of a split in it; says how to get games.
    """
    if len(data) > 1:
        raise InputError(f"data is {list(data)}, expected one folder with ALFWorld's games")
    given = data[0] if data else os.environ.get("ALFWORLD_DATA", "")
    base = Path(given or _DOWNLOADED).expanduser()
    inner = base / VERSION
    folder = inner if inner.is_dir() else base
    if not any((folder / split).is_dir() for split in SPLIT_FOLDERS.values()):
        named = "data is" if data else "ALFWORLD_DATA is" if given else "ALFWORLD_DATA is not set; looked in"
        expected = ", ".join(f"{VERSION}/{split}" for split in SPLIT_FOLDERS.values())
        raise WorldError(f"{named} {base}, expected a folder with some of {expected}; {HOW_TO_GET}")
    return folder


def games_in(folder: Path, splits: Sequence[str], task_types: Sequence[str] = TASK_TYPES) -> Found:
    """The games of some splits that ALFWorld's own loader would take, sorted; and how many it would not.

    It skips games of movable receptacles and of sliced things, games without a game file, and games whose file does not
    say that they can be solved.

    Args:
        folder: holds the folders of the splits.
        splits: names of those.
        task_types: which games are wanted; others are not counted.

    Raises:
        WorldError: no game is left, or a file cannot be read.
    """
    games, skipped = list[GameFile](), Counter[str]()
    for split in splits:
        for trial in sorted(path.parent for path in (folder / split).glob(f"*/*/{TRAJECTORY_FILE}")):
            path = trial / GAME_FILE
            if any(word in f"{trial.parent.name}/{trial.name}" for word in _UNSUPPORTED):
                skipped["movable or sliced"] += 1
                continue
            task_type, target_type = _task_of(trial / TRAJECTORY_FILE)
            if task_type not in task_types:
                continue
            if not path.is_file():
                skipped["no game file"] += 1
                continue
            game, digest = read_json_and_digest(path)
            if not game.get("solvable"):
                skipped["not solvable"] += 1
            else:
                games.append(
                    GameFile(f"{split}/{trial.parent.name}/{trial.name}", path, task_type, target_type, digest)
                )
    if not games:
        left_out = f", and {sum(skipped.values())} that are left out" if skipped else ""
        raise WorldError(f"{folder} has no games of {', '.join(splits)}{left_out}; {HOW_TO_GET}")
    return Found(tuple(games), skipped)


def read_json(path: Path) -> dict[str, Any]:
    """What a file of a game holds.

    Raises:
        WorldError: it cannot be read, or is no JSON object.
    """
    return read_json_and_digest(path)[0]


def read_json_and_digest(path: Path) -> tuple[dict[str, Any], str]:
    """What a file of a game holds, and the SHA-256 of the file, which is read once.

    Raises:
        WorldError: as `read_json`.
    """
    try:
        content = path.read_bytes()
        found = json.loads(content.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(found, dict):
        raise _unreadable(path, f"it holds a {type(found).__name__}")
    return found, hashlib.sha256(content).hexdigest()


def _task_of(path: Path) -> tuple[str, str]:
    """Task type and the type of what it is about."""
    trajectory = read_json(path)
    try:
        return str(trajectory["task_type"]), str(trajectory["pddl_params"]["object_target"])
    except (KeyError, TypeError) as error:
        raise _unreadable(path, f"it lacks {error}") from error


def _unreadable(path: Path, why: object) -> WorldError:
    return WorldError(f"{path} is no file of an ALFWorld game ({why}); download or author the game again")
