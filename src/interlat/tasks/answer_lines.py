"""Answers of any program, one JSON line each, graded one by one: what `interlat tasks grade` reads and says."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from interlat.errors import InputError, InterlatError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import BENCHMARKS
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.grading import extracted_answer, grade
from interlat.tasks.parallel import map_in_order
from interlat.tasks.records import lettered
from interlat.tasks.sandbox.execution import Limits

KINDS = ("mathematics", "choice", "code", "loader")
"""What a line may be; ``loader`` is mathematics whose right answer is taken out of a solution of MATH."""


@dataclass(frozen=True)
class GradedLine:
    """What became of one line."""

    id: str
    """As the line names itself, or its number from 1."""
    verdict: Verdict | None
    """None if the line could not be graded."""
    extracted: str | None
    """What the grader took for the answer of the reply."""
    error: str
    """Why it could not be graded; empty if it was."""

    def as_json(self) -> dict[str, Any]:
        """Its fields for a JSON line; ``reason`` and ``error`` only where there is one."""
        verdict = self.verdict
        return {
            "id": self.id,
            "correct": verdict.correct if verdict else None,
            "how": verdict.how if verdict else None,
            "extracted": self.extracted,
            **({"reason": verdict.reason} if verdict and verdict.reason else {}),
            **({"error": self.error} if self.error else {}),
        }


def graded_lines(lines: Iterable[bytes], limits: Limits | None = None, workers: int = 2) -> Iterator[GradedLine]:
    """Grade each line that is not blank, in their order, reading no further ahead than the workers need.

    A line is a JSON object with ``kind`` (one of `KINDS`), ``answer`` (the whole reply) and, if it has one, ``id``;
    further ``gold`` (mathematics; choice, where it is the label), ``options`` (choice: an object, or a list for A, B,
    ...), ``tests``, ``functions`` and ``before`` (code), ``solution`` (loader). Other fields are not looked at.

    Args:
        lines: as they are in the file.
        limits: what a program may take.
        workers: lines that are graded at once.

    Raises:
        InputError: fewer than one worker. A line that cannot be graded says so in its ``error``.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    yield from map_in_order(lambda one: _graded(*one, limits), numbered, workers)


def _graded(number: int, line: bytes, limits: Limits | None) -> GradedLine:
    identifier = str(number)
    try:
        row = _row(line)
        identifier = str(row.get("id", number))
        task, reply = _task(row, identifier), _text(row, "answer")
        return GradedLine(identifier, grade(reply, task, limits), extracted_answer(reply, task), "")
    except InterlatError as error:
        return GradedLine(identifier, None, None, f"line {number}: {' '.join(str(error).split())}")


def _row(line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no JSON ({error}); write one object a line") from error
    if not isinstance(row, dict):
        raise InputError(f"this is {type(row).__name__} in JSON, expected an object with kind, gold and answer")
    return row


def _task(row: Mapping[str, Any], identifier: str) -> Task:
    kind = row.get("kind")
    if kind == "mathematics":
        return Task(identifier, "", _text(row, "gold"))
    if kind == "choice":
        return Task(identifier, "", _text(row, "gold"), options=_options(row), grader="choice")
    if kind == "code":
        functions = row.get("functions")
        if not isinstance(functions, list) or not all(isinstance(name, str) for name in functions):
            raise InputError(f"functions is {functions!r}, expected a list of the names that the tests call")
        before = _text(row, "before") if "before" in row else ""
        metadata = {"tests": _text(row, "tests"), "functions": functions, "before": before}
        return Task(identifier, "", metadata=metadata, grader="code")
    if kind == "loader":
        solution = {"problem": "?", "level": "?", "type": "algebra", "solution": _text(row, "solution")}
        return BENCHMARKS["math"].task_of(solution, identifier)
    raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{name} is {json.dumps(value)}, expected a text; add it to the line")
    return value


def _options(row: Mapping[str, Any]) -> dict[str, str]:
    options = row.get("options")
    if isinstance(options, list):
        options = lettered(options)
    if not isinstance(options, dict) or not options or not all(isinstance(text, str) for text in options.values()):
        raise InputError(f"options is {options!r}, expected an object of label and text, or a list of texts")
    return options
