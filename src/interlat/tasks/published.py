"""Benchmarks of which each record is a question: GSM8K, AIME, GPQA-Diamond, ARC, WinoGrande and MedQA."""

import random
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, lettered, with_options
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of

ANSWER_MARK = "####"
"""Stands between a solution of GSM8K and its answer."""

Record = Mapping[str, Any]


def _gsm8k(record: Record, where: str) -> Task:
    solution, mark, answer = value_of(record, "answer", where).rpartition(ANSWER_MARK)
    if not mark:
        raise InputError(f"{where} has no {ANSWER_MARK} in its answer, expected the solution, {ANSWER_MARK}, a number")
    # The released code of LatentMAS takes the first number, up to a comma: 14 of the 1,319 answers are then wrong.
    # The solution has the notes of the calculator, <<...>>.
    answer, solution = answer.replace(",", "").strip(), solution.strip()
    return Task(where, value_of(record, "question", where), answer, metadata={"solution": solution})


def _aime(record: Record, where: str) -> Task:
    answer = value_of(record, "answer", where).strip()
    if not re.fullmatch(r"\d{1,3}", answer):
        raise InputError(f"{where} has the answer {answer!r}, expected a number from 0 to 999; correct the record")
    solution = str(record.get("solution") or "")
    return Task(where, value_of(record, "problem", where), answer, metadata={"solution": solution})


def _question(where: str, question: str, options: Mapping[str, str], answer: str, task_type: str = "") -> Task:
    return Task(where, with_options(question, options), answer, options=options, task_type=task_type)


_OPTIONS = re.compile(
    r"(?:.*\n)?[ \t]*\(?A[).:](?P<A>.*)\n[ \t]*\(?B[).:](?P<B>.*)\n[ \t]*\(?C[).:](?P<C>.*)\n[ \t]*\(?D[).:](?P<D>.*)",
    re.DOTALL,
)


def _gpqa(record: Record, where: str) -> Task:
    """With the options in the question and the letter of the right one (the default, as LatentMAS uses it), or the
    authors' own form (``Idavidrein/gpqa``, configuration ``gpqa_diamond``, split ``train``, or its CSV file)."""
    if record.get("Correct Answer") is not None:
        return _gpqa_of_columns(record, where)
    question = value_of(record, "question", where)
    answer = value_of(record, "answer", where).strip().strip("()").upper()
    # The last four in their order, since a question may begin a line with a letter, too. An option may have many lines.
    found = _OPTIONS.fullmatch(question)
    options = {label: found[label].strip() if found else "" for label in "ABCD"}
    if answer not in options:
        raise InputError(f"{where} has the answer {answer!r}, expected A, B, C or D; correct the record")
    return Task(where, question, answer, options=options)


def _gpqa_of_columns(record: Record, where: str) -> Task:
    columns = ("Question", "Correct Answer", *(f"Incorrect Answer {number}" for number in (1, 2, 3)))
    question, *texts = (value_of(record, column, where).strip() for column in columns)
    # By the question, so that an order stays the same whichever records there are.
    order = random.Random(question).sample(range(4), 4)
    options = lettered([texts[place] for place in order])
    domain = str(record.get("High-level domain") or "")
    return _question(where, question, options, list(options)[order.index(0)], domain)


def _arc(record: Record, where: str) -> Task:
    choices, answer = record.get("choices"), value_of(record, "answerKey", where)
    texts, labels = (choices.get(key) if isinstance(choices, Mapping) else None for key in ("text", "label"))
    if not texts or not labels or len(texts) != len(labels) or answer not in labels:
        raise InputError(
            f"{where} has the answerKey {answer!r} and no options that fit, expected choices with text and label, "
            "which holds the answerKey; correct the record"
        )
    # Some exams number their options; letters by place, so that all are answered alike.
    options = lettered(texts)
    return _question(where, value_of(record, "question", where), options, list(options)[list(labels).index(answer)])


def _winogrande(record: Record, where: str) -> Task:
    answer = value_of(record, "answer", where)
    if answer not in ("1", "2"):
        raise InputError(
            f"{where} has the answer {answer!r}, expected 1 or 2; the split test has none: take validation"
        )
    options = {number: value_of(record, f"option{number}", where) for number in ("1", "2")}
    question = f"Which option belongs in the place of the blank (_)?\n\n{value_of(record, 'sentence', where)}"
    return _question(where, question, options, answer)


def _medqa(record: Record, where: str) -> Task:
    """As on the hub, or of the 300 questions that come with the code of LatentMAS, whose options begin with their
    letters. The right option has exactly the text of the answer; that code takes the first one that contains it."""
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
    return _question(where, question, options, right[0])


_choice = partial(Benchmark, grader="choice")
GSM8K = Benchmark("gsm8k", "GSM8K (arXiv 2110.14168)", "openai/gsm8k", _gsm8k, 1319, configuration="main")
AIME_2024 = Benchmark("aime2024", "AIME 2024", "HuggingFaceH4/aime_2024", _aime, 30, split="train")
AIME_2025 = Benchmark("aime2025", "AIME 2025", "yentinglin/aime_2025", _aime, 30, split="train")
GPQA = _choice("gpqa", "GPQA-Diamond (arXiv 2311.12022)", "fingertap/GPQA-Diamond", _gpqa, 198)
ARC_EASY = _choice("arc_easy", "ARC-Easy (arXiv 1803.05457)", "allenai/ai2_arc", _arc, 2376, configuration="ARC-Easy")
ARC_CHALLENGE = _choice(
    "arc_challenge", "ARC-Challenge (arXiv 1803.05457)", "allenai/ai2_arc", _arc, 1172, configuration="ARC-Challenge"
)
WINOGRANDE = _choice(
    "winogrande",
    "WinoGrande (arXiv 1907.10641)",
    "allenai/winogrande",
    _winogrande,
    1267,
    split="validation",
    configuration="winogrande_debiased",
)
MEDQA = _choice("medqa", "MedQA (arXiv 2009.13081)", "GBaker/MedQA-USMLE-4-options", _medqa, 1273)
