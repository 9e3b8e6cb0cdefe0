"""MATH-500: the 500 problems of MATH that arXiv 2305.20050 tests on, with their answers in a column of their own."""

from collections.abc import Mapping
from typing import Any

from interlat.tasks.base import Task
from interlat.tasks.benchmark import Benchmark
from interlat.tasks.boxed import last_boxed
from interlat.tasks.hendrycks_math import answers_of
from interlat.tasks.records import value_of


def _task(row: Mapping[str, Any], where: str) -> Task:
    problem, answer, solution = value_of(row, "problem", where), value_of(row, "answer", where), row.get("solution")
    answers = [answer]
    if isinstance(solution, str) and last_boxed(solution) == answer:
        # The column holds the last box, where the answer may be several.
        answers = answers_of(problem, solution)
    return Task(
        id=where,
        text=problem,
        answer=answers[0],
        alternatives=tuple(answers[1:]),
        task_type=str(row.get("subject") or ""),
        metadata={"level": row.get("level"), "solution": str(solution or "")},
    )


MATH_500 = Benchmark("math500", "MATH-500 (arXiv 2305.20050)", data="HuggingFaceH4/MATH-500", task_of=_task, size=500)
