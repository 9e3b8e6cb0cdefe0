"""MATH (arXiv 2103.03874): competition problems of seven subjects and five levels, with boxed answers.

MATH-500 is the 500 of them that arXiv 2305.20050 tests on, with the answers in a column of their own.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interlat.errors import InputError
from interlat.files import sha256_of
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.boxed import all_boxed, boxed_answer, last_boxed
from interlat.tasks.reading import SUFFIXES, Records, is_local, read_records, value_of

SUBJECTS = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
    "precalculus",
)  # fmt: skip
"""As the hub names its configurations."""

LEVELS = (1, 2, 3, 4, 5)
"""From easy to hard."""

_SUFFIXES = (*SUFFIXES, "")
_EITHER = re.compile(r"\b(?:either|also)\b[^.]{0,40}\b(?:accept\w*|correct) (?:as an )?answer", re.IGNORECASE)
_ASKS_FOR_LIST = re.compile(r"separated by (?:a )?comma", re.IGNORECASE)
_OR_BOX = re.compile(r"\bor\s*\}?\s*\$?\s*\\(?:boxed|fbox)")


def _task(record: Mapping[str, Any], identifier: str, split: str = "", subject: str = "") -> Task:
    solution, problem = (value_of(record, column, identifier) for column in ("solution", "problem"))
    answers = answers_of(problem, solution)
    if not answers:
        raise InputError(f"{identifier} has no \\boxed{{...}} in its solution; correct the record or leave it out")
    level = re.fullmatch(r"(?:Level )?([1-5?])", value_of(record, "level", identifier))
    if level is None:
        raise InputError(
            f"{identifier} has the level {record['level']!r}, expected Level 1 to Level 5; correct the record"
        )
    return Task(
        identifier,
        problem,
        answers[0],
        split=split,
        task_type=subject or _subject_of(record, identifier),
        metadata={"level": None if level[1] == "?" else int(level[1]), "solution": solution},
        alternatives=tuple(answers[1:]),
    )


def answers_of(problem: str, solution: str) -> list[str]:
    r"""The right answers to a problem, the first of them in the solution's last box; empty where there is no box.

    Most solutions with several boxes box an earlier result or the same value twice: the last one counts. Where the
    problem asks for values "separated by commas", or where only "and" or a comma is between the boxes, the
    answer is all of them, such as ``-2, 1``. Where the solution says that either is accepted, each is right by itself.
    """
    boxes = list(dict.fromkeys(all_boxed(solution)))
    if len(boxes) < 2:
        return boxes
    joined = boxed_answer(solution) or boxes[-1]
    if _EITHER.search(solution):
        return list(dict.fromkeys([boxes[-1], *boxes, joined]))
    if _ASKS_FOR_LIST.search(problem):
        return [", ".join(boxes)]
    # "or" is between two ways to write one value.
    return boxes[-1:] if _OR_BOX.search(solution) else [joined]


def _records_by_subject(
    data: str, split: str, wanted: Sequence[str], revision: str
) -> tuple[dict[str, Records], dict[str, str]]:
    """All records of the wanted subjects in the order of `SUBJECTS`, and their origin."""
    records_of: dict[str, Records] = {}
    if not is_local(data):
        for subject in wanted:
            records_of[subject], origin = read_records(data, split, subject, revision)
            # So that all subjects are of one commit, even if the data set changes meanwhile.
            revision = origin["revision"]
        return records_of, origin
    # A folder with a file or a folder for each subject.
    places = [(subject, Path(data).expanduser() / f"{subject}{suffix}") for subject in SUBJECTS for suffix in _SUFFIXES]
    parts = {subject: str(place) for subject, place in places if place.exists()}
    if not parts:
        records, origin = read_records(data, split)
        for number, record in enumerate(records):
            records_of.setdefault(_subject_of(record, f"record {number} of {data}"), []).append(record)
        return {subject: records_of[subject] for subject in wanted if subject in records_of}, origin
    read = {subject: read_records(parts[subject], split) for subject in wanted if subject in parts}
    hashes = "".join(f"{origin['sha256']}  {subject}\n" for subject, (_, origin) in read.items())
    origin = {"data": data, "sha256": sha256_of(hashes.encode())}
    return {subject: records for subject, (records, _) in read.items()}, origin


def _subject_of(record: Mapping[str, Any], where: str) -> str:
    subject = value_of(record, "type", where).lower().replace("&", "and").replace(" ", "_")
    if subject not in SUBJECTS:
        raise InputError(
            f"{where} has the type {record['type']!r}, expected one of {', '.join(SUBJECTS)}; correct the record"
        )
    return subject


class Math(Benchmark):
    """MATH, which is read subject by subject."""

    def load(
        self, data: str = "", split: str = "", name: str = "", revision: str = "",
        subjects: Sequence[str] = (), levels: Sequence[int] = (),
    ) -> TaskSet:  # fmt: skip
        """The problems of one split, subject after subject, each in the published order.

        The id is ``math/<split>/<subject>/<number within the subject>``, counted from 0 before anything is left out.
        The answer is the content of the solution's last box, or of several boxes (`answers_of`). ``metadata`` has the
        ``solution`` and the ``level``, which is None for the few problems of "Level ?".

        Args:
            data: the hub's data set (a configuration for each subject), one local file with all subjects in its field
                ``type``, or a folder with a file or a folder for each subject.
            name: one more of the subjects.
            subjects: some of `SUBJECTS`; empty for all that the data holds.
            levels: some of 1 to 5; empty for all.

        Raises:
            InputError: an unknown subject or level, what `read_records` raises, or a record that is not of MATH.
        """
        data, split, subjects = data or self.data, split or self.split, (*subjects, *([name] if name else []))
        if not set(subjects) <= set(SUBJECTS):
            raise InputError(f"subjects are {', '.join(subjects)}; choose among {', '.join(SUBJECTS)}")
        if not set(levels) <= set(LEVELS):
            raise InputError(f"levels are {', '.join(map(str, levels))}; choose among 1, 2, 3, 4, 5")
        wanted = [subject for subject in SUBJECTS if not subjects or subject in subjects]
        records_of, origin = _records_by_subject(data, split, wanted, revision)
        if missing := [subject for subject in subjects if subject not in records_of]:
            raise InputError(f"{data} has nothing of {', '.join(missing)}; choose other subjects or other data")
        tasks = [
            _task(record, f"math/{split}/{subject}/{number}", split, subject)
            for subject, records in records_of.items()
            for number, record in enumerate(records)
        ]
        return TaskSet(tuple(task for task in tasks if not levels or task.metadata["level"] in levels), origin)


MATH = Math("math", "MATH (arXiv 2103.03874)", "EleutherAI/hendrycks_math", _task, 5000)


def _task_of_500(record: Mapping[str, Any], where: str) -> Task:
    problem, answer = (value_of(record, column, where) for column in ("problem", "answer"))
    solution = record.get("solution")
    # The column holds the last box, where the answer may be several.
    is_last_box = isinstance(solution, str) and last_boxed(solution) == answer
    answers = answers_of(problem, str(solution)) if is_last_box else [answer]
    return Task(
        where,
        problem,
        answers[0],
        alternatives=tuple(answers[1:]),
        task_type=str(record.get("subject") or ""),
        metadata={"level": record.get("level"), "solution": str(solution or "")},
    )


MATH_500 = Benchmark("math500", "MATH-500 (arXiv 2305.20050)", "HuggingFaceH4/MATH-500", _task_of_500, 500)
