"""What scout and actor say to each other and to the house: the prompts and plans of the household experiment.

One place builds every prompt, so that training and play show a model exactly the same text.
"""

from collections.abc import Sequence

from interlat.environments.alfworld.expert import first_of_type, tool_of
from interlat.environments.alfworld.game import Layout
from interlat.environments.alfworld.prompts import room_and_task
from interlat.experiments.household.evidence import Evidence, Language

BEGIN_MESSAGE = "<bop>"
END_MESSAGE = "<eop>"

SCOUT_REQUEST = {"plan": "Write a plan.", "list": "Write a plan that names every place."}
"""What the scout is asked for: one place for each object, or all sighted places in order of belief."""


_PLAN: dict[Language, dict[str, str]] = {
    "short": {
        "find": "find {} {}.",
        "find another": "find another {} {}.",
        "use": "use {} {}.",
        "clean": "clean with {}.",
        "heat": "heat with {}.",
        "cool": "cool with {}.",
        "put": "put in {}.",
        "searched": "not {}.",
    },
    "plain": {
        "find": "Find the {} {}.",
        "find another": "Find the other {} {}.",
        "use": "Use the {} {}.",
        "clean": "Clean it with {}.",
        "heat": "Heat it with {}.",
        "cool": "Cool it with {}.",
        "put": "Put it in {}.",
        "searched": "Do not search {}.",
    },
}
"""The steps of a plan: with objects and their places, with tools, goals and searched places."""


def scout_prompt(opening: str, evidence_text: str, style: str = "plan") -> str:
    """The one user turn of the scout: room, task, private notes, request."""
    return f"{room_and_task(opening)}\n{evidence_text}\n{SCOUT_REQUEST[style]}"


def actor_prompt(opening: str) -> str:
    """The first user turn of the actor, up to the message."""
    return f"{room_and_task(opening)}\n"


def plan_text(layout: Layout, evidence: Evidence, places: Sequence[Sequence[str]], language: Language = "short") -> str:
    """The plan for a game, one numbered step a line.

    Args:
        layout: the house, of which only what the opening text tells is used.
        evidence: the scout's notes; the plan ends with the places that were searched.
        places: for each needed object the places to look at, in order.
        language: short words or English sentences.
    """
    words = _PLAN[language]
    steps: list[str] = []
    goal, tool = first_of_type(layout, layout.parent_type), tool_of(layout)
    for number, (belief, options) in enumerate(zip(evidence.beliefs, places, strict=True)):
        # A word of its own before each object's places, so that what tells them apart stands next to them.
        where = f"{'near' if number else 'at'} {', '.join(options)}"
        if layout.toggle_type and number == 1:
            steps.append(words["use"].format(belief.object_type, where))
            continue
        find = "find another" if number and not layout.toggle_type else "find"
        steps.append(words[find].format(belief.object_type, where))
        if tool:
            steps.append(words[tool[0]].format(tool[1]))
        if goal:
            steps.append(words["put"].format(goal))
    if evidence.searched:
        steps.append(words["searched"].format(", ".join(evidence.searched)))
    return "\n".join(steps)
