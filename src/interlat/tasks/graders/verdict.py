"""A grader judges replies, and a verdict is what it finds."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.sandbox.execution import Limits


@dataclass(frozen=True)
class Verdict:
    """Whether a reply is right, and how that was found out."""

    correct: bool
    """Whether the reply's answer is the right one."""
    how: Literal["exact", "numeric", "symbolic", "executed", "unparsed"]
    """Which judge decided: the same text, the same number, the same expression, the tests of a program; unparsed if
    there was no answer, or none that could be read."""
    reason: str = ""
    """Why a program did not pass, or why a reply has no answer."""
    isolation: tuple[str, ...] = ()
    """By what a program was confined, see `interlat.tasks.sandbox.confinement.confine`."""


class Grader(ABC):
    """Judges the replies to one kind of task, behind their thoughts. Any thread may ask; no reply makes it fail."""

    answer_format: ClassVar[str] = "End with the answer in \\boxed{}."
    """Asks an agent for an answer that can be graded."""
    has_options: ClassVar[bool] = False
    """Whether its tasks have options to choose from."""

    @abstractmethod
    def grade(self, reply: str, task: Task, limits: Limits | None = None) -> Verdict:
        """Judge a reply, without its thoughts; ``limits`` is what a program may take.

        Raises:
            InputError: the task has no right answer, or lacks what is needed.
        """

    @abstractmethod
    def extracted(self, reply: str, task: Task) -> str | None:
        """What the grader takes for the answer of a reply; None where there is none."""

    def reference(self, task: Task) -> str:
        """The reply of an agent that gives the answer of the data set."""
        return f"\\boxed{{{task.answer}}}"

    @abstractmethod
    def corruptions(self, task: Task) -> Iterable[str]:
        """Replies, at least one, with wrong answers that look like the right one."""

    def task_of(self, line: Mapping[str, Any], kind: str, identifier: str) -> Task:
        """The task of a line of `interlat.tasks.answer_lines.graded_lines`.

        Raises:
            InputError: a field is missing or of another type.
        """
        return Task(identifier, "", text_in(line, "gold"), grader=kind)


def text_in(line: Mapping[str, Any], name: str) -> str:
    """The text, or the number as one, in a field of a JSON line.

    Raises:
        InputError: there is none.
    """
    value = line.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{name} is {json.dumps(value)}, expected a text; add it to the line")
    return value
