"""AIME: the problems of the American Invitational Mathematics Examination of one year, with answers from 0 to 999."""

import re
from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of


def _task(record: Mapping[str, Any], where: str) -> Task:
    answer = value_of(record, "answer", where).strip()
    if not re.fullmatch(r"\d{1,3}", answer):
        raise InputError(f"{where} has the answer {answer!r}, expected a number from 0 to 999; correct the record")
    return Task(
        id=where,
        text=value_of(record, "problem", where),
        answer=answer,
        metadata={"solution": str(record.get("solution") or "")},
    )


AIME_2024 = Benchmark("aime2024", "AIME 2024", data="HuggingFaceH4/aime_2024", split="train", task_of=_task, size=30)
AIME_2025 = Benchmark("aime2025", "AIME 2025", data="yentinglin/aime_2025", split="train", task_of=_task, size=30)
