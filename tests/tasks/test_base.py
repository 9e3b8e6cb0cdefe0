"""A task set is never empty and never names two tasks alike."""

import pytest

from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet, lettered


def test_a_task_needs_only_an_id_and_a_text() -> None:
    task = Task("a", "What is 1 + 1?")
    assert (task.answer, task.split, task.task_type, dict(task.metadata)) == ("", "", "", {})


def test_a_task_set_keeps_the_order() -> None:
    tasks = (Task("b", "B?"), Task("a", "A?"))
    assert TaskSet(tasks, {"data": "x.jsonl"}).tasks == tasks


def test_no_tasks_are_an_error_that_names_the_data() -> None:
    with pytest.raises(InputError, match=r"x\.jsonl has no tasks"):
        TaskSet((), {"data": "x.jsonl"})


def test_the_same_id_twice_is_an_error_that_names_the_id() -> None:
    with pytest.raises(InputError, match=r"x\.jsonl has two tasks with the id 'b'"):
        TaskSet((Task("a", "1"), Task("b", "2"), Task("b", "3")), {"data": "x.jsonl"})


def test_letters_go_on_behind_z() -> None:
    labels = list(lettered([str(number) for number in range(730)]))
    assert labels[:2] + labels[24:29] + labels[701:704] == ["A", "B", "Y", "Z", "AA", "AB", "AC", "ZZ", "AAA", "AAB"]
    assert len(set(labels)) == 730 and lettered([]) == {}
    assert list(lettered(["x"] * 26))[-1] == "Z"
