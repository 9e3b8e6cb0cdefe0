import pytest

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.graders.verdict import Grader, Verdict, text_in


class Same(Grader):
    def grade(self, reply, task, limits=None):
        return Verdict(reply == task.answer, "exact")

    def extracted(self, reply, task):
        return reply

    def corruptions(self, task):
        yield f"{task.answer}?"


def test_a_grader_need_say_no_more_than_how_it_grades():
    grader = Same()
    assert r"\boxed{}" in grader.answer_format and grader.reference(Task("t", "", "7")) == r"\boxed{7}"
    task = grader.task_of({"gold": 7, "answer": "8"}, "same", "t")
    assert (task.id, task.answer, task.grader) == ("t", "7", "same")
    assert Verdict(True, "exact").reason == "" and Verdict(True, "exact").isolation == ()


@pytest.mark.parametrize("value", [None, True, ["7"], {}])
def test_what_is_no_text_is_named(value):
    assert text_in({"gold": 7.5}, "gold") == "7.5" and text_in({"gold": "x"}, "gold") == "x"
    with pytest.raises(InputError, match=r"gold is .*, expected a text"):
        text_in({"gold": value}, "gold")
