"""GSM8K (arXiv 2110.14168): grade-school word problems whose answer is one number."""

from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of

ANSWER_MARK = "####"
"""Stands between a solution and its answer."""


def _task(record: Mapping[str, Any], where: str) -> Task:
    solution, mark, answer = value_of(record, "answer", where).rpartition(ANSWER_MARK)
    if not mark:
        raise InputError(f"{where} has no {ANSWER_MARK} in its answer, expected the solution, {ANSWER_MARK}, a number")
    return Task(
        id=where,
        text=value_of(record, "question", where),
        # The released code of LatentMAS takes the first number, up to a comma: 14 of the 1,319 answers are then wrong.
        answer=answer.replace(",", "").strip(),
        # With the notes of the calculator, <<...>>.
        metadata={"solution": solution.strip()},
    )


GSM8K = Benchmark(
    "gsm8k", "GSM8K (arXiv 2110.14168)", data="openai/gsm8k", configuration="main", task_of=_task, size=1319
)
