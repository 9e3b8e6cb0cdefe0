from collections import Counter

import pytest

from interlat.errors import InputError
from interlat.tasks.grading import grade
from interlat.tasks.secret import CONTENTS, SecretOptions, secret_tasks


@pytest.mark.parametrize("length", [2, 4, 7])
def test_only_the_notes_say_the_secret_and_the_grader_knows_it(length):
    tasks = secret_tasks(30, "test", SecretOptions(length=length)).tasks
    assert Counter(task.task_type for task in tasks) == dict.fromkeys(CONTENTS, 10)
    assert len({task.answer for task in tasks}) == 30
    assert len({task.text for task in tasks}) == 1, "the question says of which kind the secret is"
    for task, other in zip(tasks, tasks[3:], strict=False):
        assert task.answer in task.notes and task.answer not in task.text
        for reply in (f"\\boxed{{{task.answer}}}", f"The answer is {task.answer}."):
            assert grade(reply, task).correct and not grade(reply, other).correct
        if task.task_type != "name":
            assert len(task.answer) == length


def test_secrets_do_not_depend_on_their_number_and_splits_share_none():
    many = secret_tasks(60, "test")
    assert secret_tasks(10, "test").tasks == many.tasks[:10]
    train = secret_tasks(60, "train").tasks
    assert not {task.answer for task in train} & {task.answer for task in many.tasks}
    assert secret_tasks(10, "test", SecretOptions(seed=1)).tasks[0].answer != many.tasks[0].answer
    assert many.origin != secret_tasks(60, "test", SecretOptions(length=5)).origin


@pytest.mark.parametrize(
    ("count", "split", "options", "field"),
    [
        (0, "test", {}, "0 secrets"),
        (1, "seen", {}, "seen"),
        (1, "test", {"contents": ()}, "contents"),
        (1, "test", {"contents": ("word", "word")}, "contents"),
        (1, "test", {"length": 1}, "length"),
        (90, "test", {"contents": ("digits",), "length": 2}, "length 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(count, split, options, field):
    with pytest.raises(InputError, match=field):
        secret_tasks(count, split, SecretOptions(**options))
