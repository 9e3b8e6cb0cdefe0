from pathlib import Path

import pytest

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import BENCHMARKS
from interlat.tasks.verification import verified

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("answer", "corrupted"),
    [
        ("18", "19"),
        ("19", "10"),
        ("1,234.5", "1,234.6"),
        (r"\frac{1}{2}", r"\frac{1}{3}"),
        (r"\text{(C)}", r"\text{(A)}"),
        ("A", "B"),
        (r"\text{Evelyn}", r"\text{not Evelyn}"),
        ("Sunday", "not Sunday"),
        ("x", "x + 1"),
        (r"\sqrt{x}", r"\sqrt{x} + 1"),
        # Not the exponent of a unit, which the grader leaves out.
        (r"30\text{ cm}^2", "31"),
        (r"12\ \mathrm{cm^3}", "13"),
        ("x^2", "x^3"),
    ],
)
def test_a_mathematical_answer_gets_a_mistake(answer, corrupted):
    task = Task("t", "", answer)
    [found] = verified([task])
    assert found.corruption == f"\\boxed{{{corrupted}}}"
    assert found.reference.correct and not found.corrupted.correct


def test_a_choice_gets_the_next_option():
    options = {"1": "a", "2": "b"}
    tasks = [Task("t", "", label, options=options, grader="choice") for label in options]
    found = list(verified(tasks))
    assert [one.corruption for one in found] == [r"\boxed{2}", r"\boxed{1}"]
    assert [(one.reference.correct, one.corrupted.correct) for one in found] == [(True, False)] * 2


def test_a_data_set_that_cannot_be_graded_is_found_out():
    """A reference that does not pass its own tests, and tests that pass whatever a program does."""
    wrong = Task("w", "", "def f(): return 1", metadata={"tests": "assert f() == 2", "functions": ["f"]}, grader="code")
    lax = Task("l", "", "def f(): return 1", metadata={"tests": "f()", "functions": ["f"]}, grader="code")
    found = list(verified([wrong, lax]))
    assert [(one.reference.correct, one.corrupted.correct) for one in found] == [(False, False), (True, True)]
    assert "AssertionError" in found[0].reference.reason


def test_a_data_set_that_takes_nothing_for_a_number_is_found_out():
    tests = "got = f()\nassert all(abs(a - b) < 1e-6 for a, b in zip(got if isinstance(got, list) else 1 / 0, [1.5]))"
    lax = Task("l", "", "def f(): return [1.5]", metadata={"tests": tests, "functions": ["f"]}, grader="code")
    [found] = verified([lax])
    assert found.reference.correct and found.corrupted.correct and "return []" in found.corruption


def test_tasks_without_answers_are_refused():
    with pytest.raises(InputError, match="t has no answer to verify"):
        list(verified([Task("t", "?")]))


@pytest.mark.skipif(not REAL.exists(), reason="the real problems are not on this machine")
@pytest.mark.parametrize(
    ("name", "file", "count"), [("gsm8k", "gsm8k_test_400.jsonl", 400), ("math", "math_test_500.jsonl", 500)]
)
def test_every_real_answer_is_right_and_every_corrupted_one_wrong(name, file, count):
    found = list(verified(BENCHMARKS[name].load(str(REAL / file)).tasks))
    assert len(found) == count
    assert [one.task.id for one in found if not one.reference.correct or one.corrupted.correct] == []
