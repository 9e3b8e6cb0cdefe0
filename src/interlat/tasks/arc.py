"""ARC (arXiv 1803.05457): questions of science exams at school, easy ones and challenging ones."""

from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, lettered, with_options
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.rows import value_of


def _task(row: Mapping[str, Any], where: str) -> Task:
    choices, answer = row.get("choices"), value_of(row, "answerKey", where)
    texts, labels = (choices.get(key) if isinstance(choices, Mapping) else None for key in ("text", "label"))
    if not texts or not labels or len(texts) != len(labels) or answer not in labels:
        raise InputError(
            f"{where} has the answerKey {answer!r} and no options that fit, expected choices with text and label, "
            "which holds the answerKey; correct the row"
        )
    # Some exams number their options; letters by place, so that all are answered alike.
    options = lettered(texts)
    return Task(
        id=where,
        text=with_options(value_of(row, "question", where), options),
        answer=list(options)[list(labels).index(answer)],
        options=options,
    )


ARC_EASY = Benchmark(
    "arc_easy",
    "ARC-Easy (arXiv 1803.05457)",
    data="allenai/ai2_arc",
    configuration="ARC-Easy",
    task_of=_task,
    size=2376,
    grader="choice",
)
ARC_CHALLENGE = Benchmark(
    "arc_challenge",
    "ARC-Challenge (arXiv 1803.05457)",
    data="allenai/ai2_arc",
    configuration="ARC-Challenge",
    task_of=_task,
    size=1172,
    grader="choice",
)
