"""Whether a reply gives the right answer to a task."""

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
"""All graders, by the name that tasks have of them."""
PLACE_OF_FORMAT = "{format}"
"""Where a prompt has the `Grader.answer_format`."""

UNENDED_THOUGHT = "the reply ends inside a thought"
"""Reason of the verdict on a reply without a final part."""
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")


def grade(reply: str, task: Task, limits: Limits | None = None) -> Verdict:
    """Judge a reply with the grader of its task. Any thread may do so; no reply makes it fail.

    Only what follows the thoughts of the reply is judged, see `interlat.reasoning.final_part`.

    A program may take ``limits``; LatentMAS (arXiv 2511.20639) gives 10 seconds, as here.

    Raises:
        InputError: the task has no right answer, or lacks what its grader needs.
    """
    said = final_part(reply)
    if said is None:
        return Verdict(False, "unparsed", UNENDED_THOUGHT)
    return GRADERS[task.grader].grade(said, task, limits)


def extracted_answer(reply: str, task: Task) -> str | None:
    """What the grader of a task takes for the answer of a reply: its final answer, a label, or a program; None where
    there is none."""
    said = final_part(reply)
    return None if said is None else GRADERS[task.grader].extracted(said, task)


def comparable_answer(answer: str) -> str:
    """An answer in the form in which two answers of a run are compared with each other: equal texts are one answer.

    A number is its exact value, whatever its notation (``1/2`` is ``0.5``); anything else is its words, in lower case
    and one space apart. Coarser and much cheaper than grading one against the other.
    """
    # A number among words may be one of a name: shelf 7 is not cabinet 7.
    number = None if _LETTER.search(answer) else number_in(in_one_spelling(answer))
    if number is not None:
        return f"{number.value}%" if number.is_percent else str(number.value)
    return " ".join(answer.casefold().split())
