"""Whether a reply gives the right answer to a task."""

from collections.abc import Mapping

from interlat.reasoning import final_part
from interlat.tasks.base import Grader, Task
from interlat.tasks.boxed import ASK_FOR_BOX
from interlat.tasks.graders.choice import chosen_option, grade_choice
from interlat.tasks.graders.code import grade_code
from interlat.tasks.graders.final_answer import final_answer
from interlat.tasks.graders.mathematics import grade_mathematics
from interlat.tasks.graders.programs import program_of
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.sandbox.execution import Limits

PLACE_OF_FORMAT = "{format}"
"""Where a prompt has one of these sentences."""
ANSWER_FORMATS: Mapping[Grader, str] = {
    "mathematics": ASK_FOR_BOX,
    "choice": "End with the label of the right option, and nothing else, in \\boxed{}.",
    "code": "End with the whole program in one block of Python between ```python and ```.",
}
"""Asks an agent for an answer that can be graded."""
UNENDED_THOUGHT = "the reply ends inside a thought"
"""Reason of the verdict on a reply without a final part."""


def grade(reply: str, task: Task, limits: Limits | None = None) -> Verdict:
    """Judge a reply with the grader of its task. Any thread may do so; no reply makes it fail.

    Only what follows the thoughts of the reply is judged, see `interlat.reasoning.final_part`.

    Args:
        reply: all that the model wrote, thoughts included.
        task: what it was asked.
        limits: what a program may take; LatentMAS (arXiv 2511.20639) gives 10 seconds, as here.

    Raises:
        InputError: the task has no right answer, or lacks what its grader needs.
    """
    said = final_part(reply)
    if said is None:
        return Verdict(False, "unparsed", UNENDED_THOUGHT)
    if task.grader == "code":
        return grade_code(said, task, limits)
    if task.grader == "choice":
        return grade_choice(said, task.answer, task.options)
    verdict = grade_mathematics(said, task.answer)
    for answer in task.alternatives:
        verdict = verdict if verdict.correct else grade_mathematics(said, answer)
    return verdict


def extracted_answer(reply: str, task: Task) -> str | None:
    """What the grader of a task takes for the answer of a reply: its final answer, a label, or a program.

    Returns:
        The answer, or None where there is none.
    """
    said = final_part(reply)
    if said is None:
        return None
    if task.grader == "code":
        return program_of(said, tuple(task.metadata["functions"]))
    if task.grader == "choice":
        return chosen_option(said, task.options)
    return final_answer(said)
