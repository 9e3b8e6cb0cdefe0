"""ALFWorld trajectories as conversations between a household and an agent that thinks and acts by turns."""

import re
from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.reading import read_records, value_of

TASK_TYPES = (
    "pick_and_place_simple", "look_at_obj_in_light", "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep", "pick_two_obj_and_place",
)  # fmt: skip
"""As ALFWorld's ids spell them."""

TASK_TURN = 2
"""The place of the turn that describes the room and the goal; before it come the instruction and an OK."""

_SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
_TYPE = re.compile("|".join(TASK_TYPES))


def load_conversations(data: str, split: str = "", task_turn: int = TASK_TURN) -> TaskSet:
    """Each conversation as a task whose text is the room and the goal.

    A record has an ``id`` (or ``item_id``) and ``conversations``, a list of ``{"from": "human" | "gpt", "value": ...}``
    or ``{"role": "user" | "assistant", "content": ...}``: instruction, OK, task, then replies and observations by
    turns. ``metadata["conversations"]`` has all of them in the first form. The task type is the one of `TASK_TYPES`
    in the id or in the task, or empty.

    Args:
        data, split: as in `read_records`.
        task_turn: the place of the turn that is the task; 0 for conversations that begin with it.

    Raises:
        InputError: what `read_records` raises, or a conversation that is too short or has the wrong speakers.
    """
    records, origin = read_records(data, split)
    tasks = []
    for number, record in enumerate(records):
        where = f"record {number} of {data}"
        identifier = value_of(record, "item_id" if "item_id" in record and "id" not in record else "id", where)
        turns = turns_of(record, f"conversation {identifier!r} ({where})", task_turn)
        text = turns[task_turn]["value"]
        found = _TYPE.search(identifier) or _TYPE.search(text)
        task_type = found[0] if found else ""
        tasks.append(Task(identifier, text, split=split, task_type=task_type, metadata={"conversations": turns}))
    return TaskSet(tuple(tasks), origin)


def turns_of(record: Mapping[str, Any], where: str, task_turn: int = TASK_TURN) -> list[dict[str, str]]:
    """The turns in ``record["conversations"]``, of a record or of the metadata of a task, as
    ``{"from": "human" | "gpt", "value": ...}``.

    Raises:
        InputError: the conversation ends before the task, or has the wrong speakers.
    """
    conversation = record.get("conversations")
    if not isinstance(conversation, list) or len(conversation) <= task_turn:
        raise InputError(
            f"{where} is too short, expected a list of turns of which turn {task_turn} is the task; leave it out"
        )
    turns = []
    for place, turn in enumerate(conversation):
        fields = turn if isinstance(turn, Mapping) else {}
        speaker, value = fields.get("from", fields.get("role")), fields.get("value", fields.get("content"))
        expected = "gpt" if place % 2 else "human"
        if _SPEAKERS.get(str(speaker)) != expected or not isinstance(value, str):
            raise InputError(
                f"{where} has turn {place} by {speaker!r}, expected a text by {expected!r}: human and gpt speak "
                "by turns, the human first; correct it or leave it out"
            )
        turns.append({"from": expected, "value": value})
    return turns
