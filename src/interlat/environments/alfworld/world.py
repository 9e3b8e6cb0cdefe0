"""The world of ALFWorld (arXiv 2010.03768): the games of its folder, official or authored, in the real engine.

Texts are the game files' own, apart from what `prompts` puts in front of them. Success is what the engine calls won,
and nothing else: an episode that reaches its last action without it has failed.
"""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.expert import NOTHING_HAPPENS, Expert
from interlat.environments.alfworld.files import (
    GAME_FILE,
    Found,
    GameFile,
    data_folder,
    games_in,
    read_json,
)
from interlat.environments.alfworld.games import GAMES_KEPT, LoadedGames
from interlat.environments.alfworld.prompts import (
    PROMPT_STYLES,
    PromptStyle,
    observation_text,
    opening_text,
    room_and_task,
)
from interlat.environments.alfworld.scene import constants
from interlat.environments.alfworld.splits import folders_of
from interlat.environments.protocol import EnvironmentOptions, Item, Observation, Outcome
from interlat.environments.world import options_of, some_items
from interlat.errors import InputError, WorldError
from interlat.tasks.conversations import TASK_TYPES, load_conversations

STEPS = 20
"""The limit of actions in the published results: the mean over all episodes in the tables leaves 20 for each that
failed. The released code has 50."""
FIRST_PUT, PUT = "put THING in/on PLACE", "move THING to PLACE"
"""How the game files of before ALFWorld 0.4 call putting something down, and how they do now."""


@dataclasses.dataclass(frozen=True)
class AlfworldOptions:
    """How games are played."""

    prompt: PromptStyle = "react"
    """What the prompt asks for. react: a thought and a command in each turn. plan: a plan first.
    task: the room and the task alone, for a receiver whose template has its own instruction."""
    instruction: str = ""
    """With the prompt ``task``: a file of conversations, as receivers are trained on.
    Its first turn is put in front of the task, so that a receiver reads what it read in training."""
    steps: int = STEPS
    """Largest number of actions in one episode."""
    admissible: bool = False
    """Tell the agent in every turn which commands the game would accept."""
    task_types: str = ""
    """Names or numbers (1 to 6) of task types, separated by commas. Empty uses all."""
    games_kept: int = GAMES_KEPT
    """Number of loaded games that a worker keeps, at least as many as it plays at once.
    Others are loaded and played again."""

    def __post_init__(self) -> None:
        if self.prompt not in PROMPT_STYLES:
            raise InputError(f"prompt is {self.prompt!r}, expected one of {', '.join(PROMPT_STYLES)}")
        if self.instruction and self.prompt != "task":
            raise InputError(f"instruction is set and prompt is {self.prompt}, which has its own; set prompt to task")
        for name in ("steps", "games_kept"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
        if not isinstance(self.admissible, bool):
            raise InputError(f"admissible is {self.admissible!r}, expected true or false")
        _ = self.types

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the task types.

        Raises:
            InputError: there is no such type.
        """
        numbered = {str(number): name for number, name in enumerate(TASK_TYPES, 1)}
        given = [numbered.get(one.strip(), one.strip()) for one in str(self.task_types).split(",") if one.strip()]
        if unknown := sorted(set(given) - set(TASK_TYPES)):
            raise InputError(
                f"task_types is {self.task_types!r}, expected numbers from 1 to {len(TASK_TYPES)} or some of "
                f"{', '.join(TASK_TYPES)}; correct {unknown[0]!r}"
            )
        return tuple(given) or TASK_TYPES


class AlfworldWorld:
    """Every game of some splits is an item.

    Args:
        options: ``data`` is the folder of the games, see `data_folder`; ``split`` names splits, see `folders_of`;
            ``options`` sets fields of `AlfworldOptions`.

    Raises:
        InputError: there is no such split, task type or option.
        WorldError: the package or the folder is missing.
    """

    def __init__(self, options: EnvironmentOptions) -> None:
        self._options = options
        self._settings = options_of(AlfworldOptions, "alfworld", options.options)
        constants()  # says in one line that the package is missing, before games are looked for
        self._splits = folders_of(options.split)
        self._folder = data_folder(options.data)
        self._instruction = instruction_of(self._settings.instruction) if self._settings.instruction else ""
        self._games = LoadedGames(self._settings.games_kept)
        self._found: Found | None = None

    @property
    def origin(self) -> Mapping[str, Any]:
        """The folder, what is in it, and how it is played."""
        return {
            "data": str(self._folder),
            "sha256": self.found.sha256,
            "games": len(self.found.games),
            "skipped": dict(self.found.skipped),
            "prompt": self._settings.prompt,
            **({"instruction": self._instruction} if self._instruction else {}),
            "steps": self._settings.steps,
            "admissible": self._settings.admissible,
        }

    @property
    def found(self) -> Found:
        """The games; they are looked through once, and only where all of them are asked for.

        Raises:
            WorldError: there are none, or a file cannot be read.
        """
        if self._found is None:
            self._found = games_in(self._folder, self._splits, self._settings.types)
        return self._found

    def items(self) -> Sequence[Item]:
        of_id = {game.id: game for game in self.found.games}
        known = [Item(id, "", split=game.split) for id, game in of_id.items()]
        # The task of a game stands only in its opening text, so each game has to be loaded; load only those that are
        # played. The splits are already chosen.
        chosen = some_items(known, dataclasses.replace(self._options, split=""))
        return [self._item(of_id[item.id]) for item in chosen]

    def episode(self, item: str) -> "AlfworldEpisode":
        return AlfworldEpisode(self._games, self._path(item), self._settings, self._instruction)

    def expert(self, item: str) -> Sequence[str]:
        """The walkthrough of the game file where it wins within the limit, else the shorter one that wins of it and of
        what our own expert does."""
        path = self._path(item)
        best: list[str] = []
        for commands, won in self._solutions(path):
            if won and (not best or len(commands) < len(best)):
                best = commands
            if best and len(best) <= self._settings.steps:
                break
        return best

    def random(self, item: str, seed: int) -> Sequence[str]:
        path, commands = self._path(item), list[str]()
        draw = random.Random(f"{item} {seed}")
        seen = self._games.reset(path)
        while not seen.won and seen.steps < self._settings.steps:
            commands.append(draw.choice(seen.admissible_commands))
            seen = self._games.loaded(path).step(commands[-1])
        return commands

    def _solutions(self, path: Path) -> Iterator[tuple[list[str], bool]]:
        """Commands of our own players, each with whether they win, and those of the game file."""
        game = self._games.loaded(path)
        written = read_json(path).get("walkthrough") or []
        seen, taken = self._games.reset(path), list[str]()
        for command in written:
            if seen.won:
                break
            taken.append(str(command))
            seen = game.step(taken[-1])
        yield taken, seen.won
        expert = Expert(game.layout())
        seen, taken = self._games.reset(path), []
        while not seen.won and seen.steps < 3 * STEPS:
            taken.append(expert.next_command(seen))
            seen = game.step(taken[-1])
        yield taken, seen.won

    def _item(self, game: GameFile) -> Item:
        return Item(
            id=game.id,
            question=room_and_task(self._games.reset(game.path).text),
            split=game.split,
            task_type=game.task_type,
            family=(game.task_type, game.target_type),
            max_steps=self._settings.steps,
        )

    def _path(self, item: str) -> Path:
        path = self._folder / item / GAME_FILE
        if item.count("/") != 2 or not path.is_file():
            raise WorldError(
                f"{item} is no game in {self._folder}, expected a split, a task and a trial with / between"
            )
        return path


class AlfworldEpisode:
    """One game. ``refused_actions`` in the facts counts the commands that changed nothing."""

    def __init__(self, games: LoadedGames, path: Path, settings: AlfworldOptions, instruction: str = "") -> None:
        self._games, self._path, self._settings, self._instruction = games, path, settings, instruction
        self._number = self._refused = 0
        self._commands: list[str] = []

    def start(self) -> Outcome:
        self._number, seen = self._games.begun(self._path)
        put = FIRST_PUT if "in/on {r}" in read_json(self._path)["grammar"] else PUT
        text = opening_text(self._settings.prompt, room_and_task(seen.text), put)
        if self._instruction:
            text = f"{self._instruction}\n{text}"  # as the turns before the task are joined in training
        return Outcome(f"{text}\nYou can: {', '.join(seen.admissible_commands)}" if self._settings.admissible else text)

    def step(self, action: str) -> Outcome:
        command = " ".join(action.lower().split()).rstrip(".")
        seen = self._games.step(self._number, self._path, self._commands, command)
        self._commands.append(command)
        self._refused += seen.text == NOTHING_HAPPENS
        return self._outcome(seen)

    def _outcome(self, seen: Observation) -> Outcome:
        shown = seen.admissible_commands if self._settings.admissible and not seen.won else ()
        return Outcome(
            observation_text(seen.text, shown),
            done=seen.won,
            success=seen.won,
            score=float(seen.won),
            steps=seen.steps,
            facts={"refused_actions": self._refused},
        )


def instruction_of(data: str) -> str:
    """The first turn of the conversations in a file, which must be the same in all of them.

    Raises:
        InputError: there is no such file, or the conversations begin in several ways.
    """
    found = {task.metadata["conversations"][0]["value"] for task in load_conversations(data).tasks}
    if len(found) != 1:
        raise InputError(
            f"instruction is {data}, whose conversations begin in {len(found)} ways, expected one; give a file in "
            "which all begin alike, or leave it out and write the instruction into the receiver's template"
        )
    return str(found.pop())
