"""WinoGrande (arXiv 1907.10641): which of two names fills the blank of a sentence."""

from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, with_options
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of


def _task(record: Mapping[str, Any], where: str) -> Task:
    answer = value_of(record, "answer", where)
    if answer not in ("1", "2"):
        raise InputError(
            f"{where} has the answer {answer!r}, expected 1 or 2; the split test has none: take validation"
        )
    options = {number: value_of(record, f"option{number}", where) for number in ("1", "2")}
    question = f"Which option belongs in the place of the blank (_)?\n\n{value_of(record, 'sentence', where)}"
    return Task(id=where, text=with_options(question, options), answer=answer, options=options)


WINOGRANDE = Benchmark(
    "winogrande",
    "WinoGrande (arXiv 1907.10641)",
    data="allenai/winogrande",
    configuration="winogrande_debiased",
    split="validation",
    task_of=_task,
    size=1267,
    grader="choice",
)
