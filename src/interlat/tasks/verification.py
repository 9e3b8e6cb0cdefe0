"""Whether a data set can be graded: its own answers must be right, and its answers with a mistake must be wrong.

That the answers themselves are right cannot be seen here, nor that the right column was read in the right way: the
answers are graded against themselves. `interlat.tasks.records.AMBIGUOUS` marks those that could be read otherwise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.grading import GRADERS, grade
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sandbox.execution import Limits


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


def verified(tasks: Iterable[Task], limits: Limits | None = None, workers: int = 2) -> Iterator[Verification]:
    """Grade the answer of each task and a corrupted one, in the order of the tasks.

    Raises:
        InputError: fewer than one worker, a task without an answer, or what `interlat.tasks.grading.grade` raises.
    """
    yield from map_in_order(lambda task: _verified(task, limits), tasks, workers)


def _verified(task: Task, limits: Limits | None) -> Verification:
    if not task.answer.strip():
        raise InputError(f"{task.id} has no answer to verify; add it, or leave the task out")
    grader = GRADERS[task.grader]
    reference = grade(grader.reference(task), task, limits)
    for corruption in grader.corruptions(task):
        verdict = grade(corruption, task, limits)
        if verdict.correct:
            break
    return Verification(task, reference, verdict, corruption)
