"""Grading: whether a reply gives the right answer to a task."""

import re

from interlat.reasoning import final_part
from interlat.registry import Registry
from interlat.tasks.base import Task
from interlat.tasks.graders.notation import in_one_spelling
from interlat.tasks.graders.numbers import number_in
from interlat.tasks.graders.verdict import Grader, Verdict
from interlat.tasks.sandbox.execution import Limits

GRADERS: Registry[Grader] = Registry(
    "graders",
    {
        "mathematics": "interlat.tasks.graders.mathematics:MATHEMATICS",
        "choice": "interlat.tasks.graders.choice:CHOICE",
        "code": "interlat.tasks.graders.code:CODE",
    },
)
"""All graders, by the names that tasks use."""
PLACE_OF_FORMAT = "{format}"
"""Place of the `Grader.answer_format` in a prompt."""

UNENDED_THOUGHT = "the reply ends inside a thought"
"""Reason of the verdict on a reply without a final part."""
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")


def grade(reply: str, task: Task, limits: Limits | None = None) -> Verdict:
    """Judge a reply with the grader of its task. It can be called from any thread, and no reply makes it fail.

    It judges only the part of the reply after the reasoning, see `interlat.reasoning.final_part`.

    ``limits`` are the limits of a program. LatentMAS (arXiv 2511.20639) gives it 10 seconds, and so does this function.

    Raises:
        InputError: the task has no right answer, or lacks what its grader needs.
    """
    said = final_part(reply)
    if said is None:
        return Verdict(False, "unparsed", UNENDED_THOUGHT)
    return GRADERS[task.grader].grade(said, task, limits)


def extracted_answer(reply: str, task: Task) -> str | None:
    """The answer that the grader of a task finds in a reply: the final answer, a label, or a program. None if it finds
    none."""
    said = final_part(reply)
    return None if said is None else GRADERS[task.grader].extracted(said, task)


def comparable_answer(answer: str) -> str:
    """An answer in a normal form, to compare two answers of a run: equal texts are the same answer.

    A number becomes its exact value in any notation (``1/2`` is ``0.5``). Anything else becomes its words in lower
    case, separated by single spaces. This is coarser and much cheaper than grading one answer against the other.
    """
    # A number among words may be one of a name: shelf 7 is not cabinet 7.
    number = None if _LETTER.search(answer) else number_in(in_one_spelling(answer))
    if number is not None:
        return f"{number.value}%" if number.is_percent else str(number.value)
    return " ".join(answer.casefold().split())
