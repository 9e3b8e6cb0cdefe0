"""A task is a question with its answer; a task set says where its tasks come from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from string import ascii_uppercase
from typing import Any

from interlat.errors import InputError

SENDER_NOTES = "sender_notes"
"""Key of the metadata of a stored thought with the notes of its task, where it has any."""


_BELOW_NOTES = "\n\n"


@dataclass(frozen=True)
class Task:
    """One question and what is known about its answer."""

    id: str
    """Unique in its data set, and the same whichever subset of the data was chosen."""
    text: str
    """What the model is asked."""
    answer: str = ""
    """The right answer; empty if it is not known."""
    split: str = ""
    """The part of the data set, such as train or test."""
    task_type: str = ""
    """Subject or part of a benchmark: what a plot is coloured by."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: level, the reference solution, ..."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What there is to choose from, by label; ``answer`` is the label of the right one."""
    grader: str = "mathematics"
    """Name of the grader that judges replies, see `interlat.tasks.grading.GRADERS`."""
    alternatives: tuple[str, ...] = ()
    """Further answers to a question of mathematics that are as right as ``answer``."""
    notes: str = ""
    """What only the sender may see, such as the facts of the question; a receiver gets the ``text`` alone."""

    @property
    def told(self) -> str:
        """What a sender that may see everything is told: the notes, an empty line, the text."""
        return f"{self.notes}{_BELOW_NOTES}{self.text}" if self.notes else self.text


def text_of_told(told: str, notes: str) -> str:
    """The text of a task of which it is known what a sender was told (`Task.told`), and the notes in it.

    Raises:
        InputError: it was not told these notes.
    """
    if not notes:
        return told
    if not told.startswith(notes + _BELOW_NOTES):
        raise InputError(f"the task {told[:60]!r} does not begin with its notes {notes[:60]!r}; collect it again")
    return told.removeprefix(notes + _BELOW_NOTES)


@dataclass(frozen=True)
class TaskSet:
    """Tasks with different ids, at least one."""

    tasks: tuple[Task, ...]
    """In the order of the data."""
    origin: Mapping[str, str]
    """``data`` is the path or the hub id; with ``sha256`` of what was read, or ``revision``, the hub's commit."""

    def __post_init__(self) -> None:
        data = self.origin.get("data", "the data")
        if not self.tasks:
            raise InputError(f"{data} has no tasks, expected at least one; choose another split, subset or file")
        twice = [one for one, count in Counter(task.id for task in self.tasks).items() if count > 1]
        if twice:
            raise InputError(
                f"{data} has two tasks with the id {twice[0]!r}, expected different ids; "
                "rename one or name another id column"
            )


def lettered(texts: Sequence[str]) -> dict[str, str]:
    """Options under the labels A to Z, AA, AB and so on."""
    lengths = range(1, 2 + len(texts) // len(ascii_uppercase))
    labels = ("".join(letters) for length in lengths for letters in product(ascii_uppercase, repeat=length))
    return dict(zip(labels, texts, strict=False))


def with_options(question: str, options: Mapping[str, str]) -> str:
    """A question and its options, one a line behind its label."""
    return "\n".join([question.rstrip(), "", *(f"{label}: {text}" for label, text in options.items())])
