"""Trajectories as conversations: the third turn is the task, the whole is kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from interlat.errors import InputError
from interlat.tasks.conversations import TASK_TYPES, load_conversations

ROOM = "You are in the middle of a room. You see a desk 1.\nYour task is to: put a mug in desk."
TEXTS = ["Interact with a household.", "OK", ROOM, "Thought: look.\nAction: go to desk 1", "You see a mug 1.", "Done."]


def turns(texts: list[str], style: str = "from") -> list[dict[str, str]]:
    if style == "from":
        return [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(texts)]
    return [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("style", ["from", "role"])
@pytest.mark.parametrize("key", ["id", "item_id"])
def test_both_spellings_give_the_same_task(tmp_path: Path, style: str, key: str) -> None:
    found = load_conversations(written(tmp_path / "x.json", [{key: 17, "conversations": turns(TEXTS, style)}]), "train")
    [task] = found.tasks
    assert (task.id, task.text, task.split, task.answer, task.task_type) == ("17", ROOM, "train", "", "")
    assert task.metadata == {"conversations": turns(TEXTS)}
    assert found.origin["data"] == str(tmp_path / "x.json")


def test_the_six_task_types_are_read_from_the_id_or_the_goal(tmp_path: Path) -> None:
    rows = [{"id": f"{name}-Mug-None-Desk-3/trial_1", "conversations": turns(TEXTS)} for name in TASK_TYPES]
    goal = f"{ROOM} ({TASK_TYPES[3]})"
    rows.append({"id": "other", "conversations": turns([*TEXTS[:2], goal])})
    rows.append({"id": "pick_and_place_with_movable_recep-Mug", "conversations": turns(TEXTS)})
    tasks = load_conversations(written(tmp_path / "x.json", rows)).tasks
    assert [task.task_type for task in tasks] == [*TASK_TYPES, TASK_TYPES[3], ""]


def test_a_conversation_may_begin_with_its_task(tmp_path: Path) -> None:
    data = written(tmp_path / "x.json", [{"id": "t1", "conversations": turns(TEXTS[:2])}])
    [task] = load_conversations(data, task_turn=0).tasks
    assert task.text == TEXTS[0] and task.metadata == {"conversations": turns(TEXTS[:2])}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "t1", "conversations": turns(TEXTS[:2])}, "conversation 't1' .* is too short"),
        ({"id": "t1"}, "conversation 't1' .* is too short"),
        ({"id": "t1", "conversations": "text"}, "conversation 't1' .* is too short"),
        ({"id": "t1", "conversations": turns(TEXTS)[1:]}, "conversation 't1' .* has turn 0 by 'gpt'"),
        ({"id": "t1", "conversations": [*turns(TEXTS[:3]), *turns(TEXTS[:1])]}, "'t1' .* has turn 3 by 'human'"),
        ({"id": "t1", "conversations": [{"role": "system", "content": ""}] * 3}, "'t1' .* has turn 0 by 'system'"),
        ({"id": "t1", "conversations": ["a", "b", "c"]}, "'t1' .* has turn 0 by None"),
        ({"id": "t1", "conversations": [*turns(TEXTS[:2]), {"from": "human", "value": None}]}, "'t1' .* has turn 2"),
        ({"conversations": turns(TEXTS)}, "record 1 of .* has no 'id'"),
    ],
)
def test_a_conversation_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    data = written(tmp_path / "x.json", [{"id": "t0", "conversations": turns(TEXTS)}, row])
    with pytest.raises(InputError, match=message):
        load_conversations(data)
