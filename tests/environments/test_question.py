import pytest

from interlat.environments.question import QuestionEnvironment
from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet

TASKS = TaskSet(
    (
        Task("a", "What is 1 + 1?", "2", split="test", task_type="easy", metadata={"level": 3, "solution": "2"}),
        Task("b", "Which one?", "B", options={"A": "one", "B": "two"}, grader="choice"),
    ),
    {"data": "here"},
)


def test_a_question_ends_after_one_graded_reply():
    environment = QuestionEnvironment("sums", TASKS, template="{text} Box it. {text}")
    items = environment.items()
    assert [(item.id, item.question, item.max_steps) for item in items] == [
        ("a", "What is 1 + 1?", 1),
        ("b", "Which one?", 1),
    ]
    assert [item.facts for item in items] == [{"answer": "2", "level": 3}, {"answer": "B"}]
    assert items[0].split == "test" and len({item.family for item in items}) == 2
    assert environment.start(items[:1])[0].text == "What is 1 + 1? Box it. What is 1 + 1?"
    right, wrong = environment.step(items, [r"\boxed{2}", r"\boxed{A}"])
    assert (right.done, right.success, right.score, right.steps) == (True, True, 1.0, 1)
    assert (wrong.done, wrong.success, wrong.score) == (True, False, 0.0)
    assert (right.facts["given"], wrong.facts["given"]) == ("2", "A")
    [unended] = environment.step(items[:1], ["<think> 2, 2, 2"])
    assert not unended.success and "thought" in unended.facts["reason"] and unended.facts["given"] == ""


def test_a_question_without_an_answer_is_refused():
    with pytest.raises(InputError, match="c has no answer"):
        QuestionEnvironment("sums", TaskSet((*TASKS.tasks, Task("c", "Why?")), {"data": "here"}))
