"""MATH-500: the 500 problems of MATH that arXiv 2305.20050 tests on, with their answers in a column of their own."""

from collections.abc import Mapping
from typing import Any

from interlat.tasks.base import Task
from interlat.tasks.benchmark import Benchmark
from interlat.tasks.records import value_of


def _task(row: Mapping[str, Any], where: str) -> Task:
    return Task(
        id=where,
        text=value_of(row, "problem", where),
        answer=value_of(row, "answer", where),
        task_type=str(row.get("subject") or ""),
        metadata={"level": row.get("level"), "solution": str(row.get("solution") or "")},
    )


MATH_500 = Benchmark("math500", "MATH-500 (arXiv 2305.20050)", data="HuggingFaceH4/MATH-500", task_of=_task, size=500)
