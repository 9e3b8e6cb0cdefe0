"""Whether a data set can be graded: its own answers must be right, and its answers with a mistake must be wrong.

That the answers themselves are right cannot be seen here, nor that the right column was read in the right way: the
answers are graded against themselves. `interlat.tasks.records.AMBIGUOUS` marks those that could be read otherwise.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.graders.notation import in_one_spelling
from interlat.tasks.graders.units import without_unit
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.grading import grade
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sandbox.execution import Limits

WRONG_RESULTS: tuple[object, ...] = ("nothing of the kind", [])
"""What the functions of a corrupted program return; numpy calls an empty list close to every number."""


@dataclass(frozen=True)
class Verification:
    """What the grader of a task says of its answer and of a corrupted one."""

    task: Task
    reference: Verdict
    """Of the data set's own answer; should be right."""
    corrupted: Verdict
    """Of an answer with a mistake; should be wrong."""
    corruption: str
    """The reply with the mistake."""


def reference_reply(task: Task) -> str:
    """What an agent would say that gives the answer of the data set.

    Raises:
        InputError: the task has no answer.
    """
    if not task.answer.strip():
        raise InputError(f"{task.id} has no answer to verify; add it, or leave the task out")
    return f"```python\n{task.answer}\n```" if task.grader == "code" else f"\\boxed{{{task.answer}}}"


def corrupted_reply(task: Task, result: object = WRONG_RESULTS[0]) -> str:
    """A reply that gives a wrong answer which looks like the right one.

    The next option with another text than the right one; the program with functions that return ``result``; the last
    digit of a number or an expression changed by one; where there is no digit, another word or one more summand.
    """
    if task.grader == "code":
        overwritten = "".join(
            f"\n\ndef {name}(*values, **named):\n    return {result!r}\n" for name in task.metadata["functions"]
        )
        return f"```python\n{task.answer}{overwritten}```"
    if task.grader == "choice":
        labels, right = list(task.options), task.options[task.answer].strip()
        place = labels.index(task.answer) + 1
        wrong = [label for label in labels[place:] + labels[: place - 1] if task.options[label].strip() != right]
        return f"\\boxed{{{next(iter(wrong or labels[place:] + labels))}}}"
    return f"\\boxed{{{_changed(task.answer)}}}"


def verified(tasks: Iterable[Task], limits: Limits | None = None, workers: int = 2) -> Iterator[Verification]:
    """Grade the answer of each task and a corrupted one, in the order of the tasks.

    Raises:
        InputError: fewer than one worker, a task without an answer, or what `interlat.tasks.grading.grade` raises.
    """
    yield from map_in_order(lambda task: _verified(task, limits), tasks, workers)


def _verified(task: Task, limits: Limits | None) -> Verification:
    reference = grade(reference_reply(task), task, limits)
    for result in WRONG_RESULTS if task.grader == "code" else WRONG_RESULTS[:1]:
        corruption = corrupted_reply(task, result)
        verdict = grade(corruption, task, limits)
        if verdict.correct:
            break
    return Verification(task, reference, verdict, corruption)


_DIGIT = re.compile(r"\d(?=\D*$)")
_WORDS = re.compile(r"[A-Za-z]{2,}(?![A-Za-z]*\{)")


def _changed(answer: str) -> str:
    """A mathematical answer with a mistake."""
    plain = in_one_spelling(answer)
    value = without_unit(plain)
    # Not the exponent of a unit, which the grader leaves out.
    answer = value if value != plain else answer
    digit = _DIGIT.search(answer)
    if digit:
        return f"{answer[: digit.start()]}{(int(digit[0]) + 1) % 10}{answer[digit.end() :]}"
    choice = re.search(r"(?<![A-Za-z\\])[A-Z](?![A-Za-z])", answer)
    if choice and re.fullmatch(r"\(?[A-Z]\)?|\\text\{\(?[A-Z]\)?\}", answer):
        return f"{answer[: choice.start()]}{'B' if choice[0] == 'A' else 'A'}{answer[choice.end() :]}"
    if answer.startswith("\\text{"):
        return answer.replace("\\text{", "\\text{not ", 1)
    return f"not {answer}" if _WORDS.fullmatch(answer) else f"{answer} + 1"
