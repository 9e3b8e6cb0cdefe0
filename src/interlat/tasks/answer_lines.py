"""Answers of any program, one JSON line each, graded one by one: what `interlat tasks grade` reads and says."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from interlat.errors import InputError, InterlatError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import BENCHMARKS
from interlat.tasks.graders.verdict import Verdict, text_in
from interlat.tasks.grading import GRADERS, extracted_answer, grade
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sandbox.execution import Limits

LOADER = "loader"
"""Kind of a line of mathematics whose right answer is taken out of a solution of MATH."""


@dataclass(frozen=True)
class GradedLine:
    """What became of one line."""

    id: str
    """As the line names itself, or its number from 1."""
    verdict: Verdict | None = None
    """None if the line could not be graded."""
    extracted: str | None = None
    """What the grader took for the answer of the reply."""
    error: str = ""
    """Why it could not be graded; empty if it was."""

    def as_json(self) -> dict[str, Any]:
        """Its fields for a JSON line; ``reason`` and ``error`` only where there is one."""
        verdict = self.verdict
        found: dict[str, Any] = {"id": self.id, "correct": None, "how": None, "extracted": self.extracted}
        if verdict:
            found |= {"correct": verdict.correct, "how": verdict.how}
            found |= {"reason": verdict.reason} if verdict.reason else {}
        return found | ({"error": self.error} if self.error else {})


def graded_lines(lines: Iterable[bytes], limits: Limits | None = None, workers: int = 2) -> Iterator[GradedLine]:
    """Grade each line that is not blank, in their order, reading no further ahead than the workers need.

    A line is a JSON object with ``kind`` (a grader, a benchmark or `LOADER`), ``answer`` (the whole reply) and, if it
    has one, ``id``; further ``gold`` (mathematics; choice, where it is the label), ``options`` (choice: an object, or a
    list for A, B, ...), ``tests``, ``functions`` and ``before`` (code), ``solution`` (loader), ``record`` (a benchmark:
    one of its data set). Other fields are not looked at.

    Raises:
        InputError: fewer than one worker. A line that cannot be graded says so in its ``error``.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    yield from map_in_order(lambda one: _graded(*one, limits), numbered, workers)


def _graded(number: int, line: bytes, limits: Limits | None) -> GradedLine:
    identifier = str(number)
    try:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is no JSON ({error}); write one object a line") from error
        if not isinstance(fields, dict):
            raise InputError(f"this is {type(fields).__name__} in JSON, expected an object with kind, gold and answer")
        identifier = str(fields.get("id", number))
        task, reply = _task(fields, identifier), text_in(fields, "answer")
        return GradedLine(identifier, grade(reply, task, limits), extracted_answer(reply, task))
    except InterlatError as error:
        return GradedLine(identifier, error=f"line {number}: {' '.join(str(error).split())}")


def _task(fields: Mapping[str, Any], identifier: str) -> Task:
    kind = fields.get("kind")
    if kind == LOADER:
        fields = {"problem": "?", "level": "?", "type": "algebra", "solution": text_in(fields, "solution")}
        return BENCHMARKS["math"].task_of(fields, identifier)
    if kind in GRADERS:
        return GRADERS[str(kind)].task_of(fields, str(kind), identifier)
    if kind in BENCHMARKS:
        benchmark = BENCHMARKS[str(kind)]
        if not isinstance(held := fields.get("record"), dict):
            raise InputError(f"record is {json.dumps(held)}, expected an object as the data set of {kind} has it")
        return replace(benchmark.task_of(held, identifier), grader=benchmark.grader)
    names = ", ".join((*GRADERS.names(), LOADER))
    raise InputError(f"kind is {kind!r}, expected one of {names}, or a benchmark ({', '.join(BENCHMARKS.names())})")
