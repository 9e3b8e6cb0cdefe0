"""MedQA (arXiv 2009.13081): questions of the United States medical licensing examination with four options.

Read in two forms: as on the hub, and as the 300 questions that come with the code of LatentMAS, whose options begin
with their letters. The right option is the one with exactly the text of the answer: the code of LatentMAS takes
the first one that contains it.
"""

from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, lettered, with_options
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of


def _task(record: Mapping[str, Any], where: str) -> Task:
    held, answer = record.get("options"), value_of(record, "answer", where)
    if isinstance(held, Mapping):
        options = {str(label): str(text) for label, text in held.items()}
    elif isinstance(held, list):
        options = lettered([str(text) for text in held])
        # Only where all of them begin with their own letters: E. coli is a text.
        if all(text.startswith(f"{label}.") for label, text in options.items()):
            options = {label: text.removeprefix(f"{label}.").strip() for label, text in options.items()}
    else:
        raise InputError(f"{where} has no options, expected a list or an object of texts; correct the record")
    right = [label for label, text in options.items() if text.strip() == answer.strip()]
    if len(right) != 1:
        raise InputError(f"{where} has {len(right)} options that read {answer!r}, expected one; correct the record")
    question = value_of(record, "question", where).rstrip()
    # The file of LatentMAS has them in the question, too, and twice.
    while isinstance(held, list) and question.endswith("\n".join(held)):
        question = question.removesuffix("\n".join(held)).rstrip()
    return Task(id=where, text=with_options(question, options), answer=right[0], options=options)


MEDQA = Benchmark(
    "medqa", "MedQA (arXiv 2009.13081)", data="GBaker/MedQA-USMLE-4-options", task_of=_task, size=1273, grader="choice"
)
