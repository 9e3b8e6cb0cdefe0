"""What an agent reads of an ALFWorld game: the room and the task, the rules in front of them, and observations."""

import re
from collections.abc import Sequence
from typing import Literal, get_args

PromptStyle = Literal["react", "plan", "task"]
PROMPT_STYLES: tuple[PromptStyle, ...] = get_args(PromptStyle)

_COMMANDS = (
    "You act in a household by commands, one a turn, and read what comes of each. THING and PLACE stand for names with "
    "their numbers, such as mug 2 or drawer 1. The commands:\n"
    "go to PLACE\n"
    "open PLACE\n"
    "close PLACE\n"
    "take THING from PLACE\n"
    "{put}\n"
    "use THING (a lamp)\n"
    "clean THING with PLACE\n"
    "heat THING with PLACE\n"
    "cool THING with PLACE\n"
    "examine THING or PLACE\n"
    "inventory\n"
    "look\n"
    "You can hold one thing at a time. What is inside a closed place shows when you open it."
)
_STYLES: dict[PromptStyle, str] = {
    "react": (
        "In every turn, think about what you have seen and what comes next, then give one command. Write two lines:\n"
        "Thought: what you think\n"
        "Action: the command"
    ),
    "plan": (
        "You work by a plan. If you are given one below, follow it. If not, begin your first turn with a short plan of "
        "your own. End every turn with one command, on a line such as Action: go to drawer 1\n"
        "Where the room is not as the plan says, do what the task needs and go on with the plan."
    ),
}
_STAND = re.compile(r"^You arrive at loc \d+\.\s*")


def room_and_task(opening: str) -> str:
    """The opening text of a game without the engine's welcome line."""
    blocks = [block for block in opening.split("\n\n") if block.strip()]
    return "\n".join(block for block in blocks if not block.startswith("-="))


def opening_text(style: PromptStyle, task: str, put: str) -> str:
    """What an agent reads first.

    Args:
        style: react asks for a thought and a command in each turn, plan for a plan first; task is the room and the
            task alone, for a receiver whose template brings its own instruction.
        task: room and task.
        put: how the game calls putting something down, such as ``move THING to PLACE``.
    """
    if style == "task":
        return task
    return f"{_COMMANDS.format(put=put)}\n\n{_STYLES[style]}\n\n{task}"


def observation_text(text: str, admissible: Sequence[str] = ()) -> str:
    """What an agent reads after a command, with the commands that the game would accept where they are given.

    Early game files call every place where one can stand a number. As in the published runs, it is left out.
    """
    shown = f"Observation: {_STAND.sub('', text)}"
    return f"{shown}\nYou can: {', '.join(admissible)}" if admissible else shown
