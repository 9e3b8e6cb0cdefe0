import pytest

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.grading import GRADERS, comparable_answer, extracted_answer, grade

CODE = Task("c", "", metadata={"tests": "assert f() == 1", "functions": ["f"]}, grader="code")


@pytest.mark.parametrize(
    ("task", "reply", "how"),
    [
        (Task("m", "", "1/2"), r"\boxed{0.5}", "numeric"),
        (Task("o", "", "B", options={"A": "x", "B": "1/2"}, grader="choice"), "The answer is (b).", "exact"),
        (CODE, "```python\ndef f(): return 1\n```", "executed"),
    ],
)
def test_each_task_has_its_grader(task, reply, how):
    verdict = grade(reply, task)
    assert (verdict.correct, verdict.how) == (True, how)
    wrong = grade(reply.replace("1", "2").replace("0.5", "5").replace("b", "a"), task)
    assert not wrong.correct


def test_what_each_grader_takes_for_the_answer():
    assert extracted_answer(r"\boxed{3} or \boxed{5}", Task("m", "", "3,5")) == "3, 5"
    options = Task("o", "", "B", options={"A": "x", "B": "y"}, grader="choice")
    assert extracted_answer("The answer is (b).", options) == "B"
    assert extracted_answer("```python\ndef f(): return 1\n```", CODE) == "def f(): return 1\n"
    assert extracted_answer("I do not know.", options) is None


@pytest.mark.parametrize(
    ("task", "thought", "said"),
    [
        (Task("m", "", "7"), r"maybe \boxed{12}", "The answer is 7."),
        (Task("o", "", "B", options={"A": "x", "B": "y"}, grader="choice"), r"\boxed{A} maybe", "The answer is B."),
        (CODE, "```python\ndef f(): return 2\n```", "```python\ndef f(): return 1\n```"),
        (CODE, "```python\ndef f(): return 1", "```python\ndef f(): return 1\n```"),
    ],
)
def test_thoughts_are_not_graded(task, thought, said):
    for reply in (
        f"<think>{thought}</think>\n{said}",
        f"{thought}\n</think>\n{said}",
        f"analysis{thought}assistantfinal{said}",
    ):
        assert grade(reply, task).correct, reply
    for reply in (f"<think>{said}</think>", f"<think>{said}</think>I give up."):
        assert not grade(reply, task).correct, reply
    unended = grade(f"<think>{said}", task)
    assert (unended.correct, unended.how, unended.reason) == (False, "unparsed", "the reply ends inside a thought")


def test_every_grader_says_what_it_wants_to_see():
    """A reply that does just that can be read."""
    assert r"\boxed{}" in GRADERS["mathematics"].answer_format and r"\boxed{}" in GRADERS["choice"].answer_format
    assert "```python" in GRADERS["code"].answer_format


def test_no_reply_ends_a_run():
    """D9 of the released code dies of the first answer that it cannot read."""
    for reply in (
        "",
        "\x00",
        "\\boxed{",
        "```python",
        "9" * 10**5,
        "\\boxed{" * 2000,
        "\ud800",
        "```python\nimport os; os._exit(0)\n",
    ):
        assert not grade(reply, Task("m", "", "1")).correct
        assert not grade(reply, Task("o", "", "A", options={"A": "x"}, grader="choice")).correct
        assert not grade(reply, CODE).correct


def test_a_task_without_an_answer_is_an_error():
    with pytest.raises(InputError, match="no right answer"):
        grade("1", Task("m", ""))


@pytest.mark.parametrize(
    ("answer", "same"),
    [("0.5", r"\frac{1}{2}"), ("1,000", "1000"), ("$7$", "7.0"), ("Go to  Shelf 1", "go to shelf 1"), ("20%", r"20\%")],
)
def test_answers_that_are_the_same_have_one_form(answer, same):
    assert comparable_answer(answer) == comparable_answer(same)


def test_other_answers_have_other_forms():
    forms = [
        comparable_answer(answer)
        for answer in ("7", "07:00", "seven", "7%", "0.7", "", "b", "go to shelf 7", "go to cabinet 7")
    ]
    assert len(set(forms)) == len(forms) and comparable_answer("") == ""
