"""GPQA-Diamond (arXiv 2311.12022): questions by and for graduates that no search engine answers.

Read in two forms: with the options in the question and the letter of the right one (the default, as LatentMAS uses it),
and the authors' own with one column for each option (``Idavidrein/gpqa``, configuration ``gpqa_diamond``, split
``train``, or its CSV file).
"""

import random
import re
from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, lettered, with_options
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of

_OPTIONS = re.compile(
    r"(?:.*\n)?[ \t]*\(?A[).:](?P<A>.*)\n[ \t]*\(?B[).:](?P<B>.*)\n[ \t]*\(?C[).:](?P<C>.*)\n[ \t]*\(?D[).:](?P<D>.*)",
    re.DOTALL,
)


def _task(record: Mapping[str, Any], where: str) -> Task:
    if record.get("Correct Answer") is not None:
        return _task_of_columns(record, where)
    question, answer = (
        value_of(record, "question", where),
        value_of(record, "answer", where).strip().strip("()").upper(),
    )
    # The last four in their order, since a question may begin a line with a letter, too. An option may have many lines.
    found = _OPTIONS.fullmatch(question)
    options = {label: found[label].strip() if found else "" for label in "ABCD"}
    if answer not in options:
        raise InputError(f"{where} has the answer {answer!r}, expected A, B, C or D; correct the record")
    return Task(id=where, text=question, answer=answer, options=options)


def _task_of_columns(record: Mapping[str, Any], where: str) -> Task:
    question, right = value_of(record, "Question", where).strip(), value_of(record, "Correct Answer", where).strip()
    texts = [right, *(value_of(record, f"Incorrect Answer {number}", where).strip() for number in (1, 2, 3))]
    # By the question, so that an order stays the same whichever records there are.
    order = random.Random(question).sample(range(4), 4)
    options = lettered([texts[place] for place in order])
    return Task(
        id=where,
        text=with_options(question, options),
        answer=list(options)[order.index(0)],
        options=options,
        task_type=str(record.get("High-level domain") or ""),
    )


GPQA = Benchmark(
    "gpqa", "GPQA-Diamond (arXiv 2311.12022)", data="fingertap/GPQA-Diamond", task_of=_task, size=198, grader="choice"
)
