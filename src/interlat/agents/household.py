"""What scout and actor say to each other and to the house: the prompts and plans of the household experiment.

One place builds every prompt, so that training and play show a model exactly the same text.
"""

from collections.abc import Sequence

from interlat.worlds.alfworld import Layout
from interlat.worlds.evidence import Evidence

BEGIN_MESSAGE = "<bop>"
END_MESSAGE = "<eop>"

SCOUT_REQUEST = {"plan": "Write a plan.", "list": "Write a plan that names every place."}
"""What the scout is asked for: one place for each object, or all sighted places in order of belief."""


def room_and_task(opening: str) -> str:
    """The opening text of a game without the engine's welcome line."""
    blocks = [block for block in opening.split("\n\n") if block.strip()]
    return "\n".join(block for block in blocks if not block.startswith("-="))


def scout_prompt(opening: str, evidence_text: str, style: str = "plan") -> str:
    """The one user turn of the scout: room, task, private notes, request."""
    return f"{room_and_task(opening)}\n{evidence_text}\n{SCOUT_REQUEST[style]}"


def actor_prompt(opening: str) -> str:
    """The first user turn of the actor, up to the message."""
    return f"{room_and_task(opening)}\n"


def goal_place(layout: Layout) -> str | None:
    """The receptacle that the plan names as the goal: the first of the goal's type, None without one."""
    places = [place for place, kind in layout.receptacle_types.items() if kind == layout.parent_type]
    return min(places, key=_by_name_and_number) if places else None


def tool_place(layout: Layout) -> str | None:
    """Where the object of a clean, heat or cool task is treated; None for the other tasks."""
    tool = {
        "pick_clean_then_place_in_recep": "SinkBasin",
        "pick_heat_then_place_in_recep": "Microwave",
        "pick_cool_then_place_in_recep": "Fridge",
    }.get(layout.task_type)
    places = [place for place, kind in layout.receptacle_types.items() if kind == tool]
    return min(places, key=_by_name_and_number) if places else None


def _by_name_and_number(place: str) -> tuple[str, int]:
    name, number = place.rsplit(" ", 1)
    return name, int(number)


def plan_text(layout: Layout, evidence: Evidence, places: Sequence[Sequence[str]]) -> str:
    """The plan for a game, one numbered step a line.

    Args:
        layout: the house, of which only what the opening text tells is used.
        evidence: the scout's notes; the plan ends with the places that were searched.
        places: for each needed object the places to look at, in order.
    """
    steps: list[str] = []
    goal, tool = goal_place(layout), tool_place(layout)
    verb = {"SinkBasin": "clean", "Microwave": "heat", "Fridge": "cool"}
    for number, (belief, options) in enumerate(zip(evidence.beliefs, places, strict=True)):
        where = ", ".join(options)
        if layout.toggle_type and number == 1:
            steps.append(f"use {belief.object_type} at {where}.")
            continue
        another = "another " if number and not layout.toggle_type else ""
        steps.append(f"find {another}{belief.object_type} at {where}.")
        if tool:
            steps.append(f"{verb[layout.receptacle_types[tool]]} with {tool}.")
        if goal:
            steps.append(f"put in {goal}.")
    if evidence.searched:
        steps.append(f"not {', '.join(evidence.searched)}.")
    return "\n".join(steps)


def command_of(reply: str) -> str:
    """The command in an actor's reply: what follows the last "Action:", else the first line that is not empty."""
    marker = reply.rfind("Action:")
    text = reply[marker + len("Action:") :] if marker >= 0 else reply
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
