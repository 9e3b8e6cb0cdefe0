"""ARC (arXiv 1803.05457): questions of science exams at school, easy ones and challenging ones."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, lettered, with_options
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of


def _task(record: Mapping[str, Any], where: str) -> Task:
    choices, answer = record.get("choices"), value_of(record, "answerKey", where)
    texts, labels = (choices.get(key) if isinstance(choices, Mapping) else None for key in ("text", "label"))
    if not texts or not labels or len(texts) != len(labels) or answer not in labels:
        raise InputError(
            f"{where} has the answerKey {answer!r} and no options that fit, expected choices with text and label, "
            "which holds the answerKey; correct the record"
        )
    # Some exams number their options; letters by place, so that all are answered alike.
    options = lettered(texts)
    return Task(
        id=where,
        text=with_options(value_of(record, "question", where), options),
        answer=list(options)[list(labels).index(answer)],
        options=options,
    )


_arc = partial(Benchmark, data="allenai/ai2_arc", task_of=_task, grader="choice")
ARC_EASY = _arc("arc_easy", "ARC-Easy (arXiv 1803.05457)", configuration="ARC-Easy", size=2376)
ARC_CHALLENGE = _arc("arc_challenge", "ARC-Challenge (arXiv 1803.05457)", configuration="ARC-Challenge", size=1172)
