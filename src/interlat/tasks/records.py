"""Tasks from the records of any data set, by a mapping of its columns."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from interlat.config import did_you_mean
from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet, lettered, with_options
from interlat.tasks.grading import GRADERS
from interlat.tasks.reading import as_text, read_records, value_of

AMBIGUOUS = "ambiguous_answer"
"""Key of the metadata with the options that the answer of a record could mean, too, such as B for the text 1."""


@dataclass(frozen=True)
class RecordFields:
    """Which column of a data set holds what. An empty name means that there is no such column."""

    id: str = "id"
    """Id of a task. If this is left at its default and there is no such column, record numbers are the ids."""
    text: str = "question"
    """The question to the model. Every record needs it."""
    answer: str = "answer"
    """The right answer. Records may lack it."""
    task_type: str = ""
    """Subject or part of the data set that a task belongs to."""
    split: str = ""
    """Split that a record belongs to, for files that hold several splits."""
    options: tuple[str, ...] = ()
    """Options of multiple-choice questions.
    One column holds all of them, as a list or as an object of texts by label, or each has a column.
    The answer is then a label, the text of an option, or a number that counts from 0.
    The first of these readings that fits all records is used, else the first that fits a record.
    A whole number of JSON or Parquet is not a text."""
    grader: str = "mathematics"
    """How answers are graded. mathematics: numbers, expressions, words. choice: options. code: programs.
    Or another registered grader."""
    tests: str = "test"
    """code: column with statements that raise an exception unless the program is right."""
    functions: str = "entry_point"
    """code: column with the function that the tests call, or a list of several."""
    notes: str = ""
    """Private notes for the sender, such as the facts of the question. Records may lack them."""

    def __post_init__(self) -> None:
        if self.grader not in GRADERS:
            names = GRADERS.names()
            guess = did_you_mean(self.grader, names)
            raise InputError(f"grader is {self.grader!r}, expected one of {', '.join(names)}{guess}; correct it")
        if GRADERS[self.grader].has_options != bool(self.options):
            raise InputError(
                f"the grader is {self.grader} and the options are {list(self.options)}; name columns with options "
                "where the grader is choice, and nowhere else"
            )

    @property
    def record(self) -> dict[str, Any]:
        """As manifests and hashes have it: without what older versions did not know and is not used."""
        return {name: value for name, value in asdict(self).items() if name != "notes" or value}


def load_records(data: str, split: str, fields: RecordFields, name: str = "", revision: str = "") -> TaskSet:
    """Any question set as tasks; columns with JSON values that are not in ``fields`` become metadata.

    Records are numbered from 0 before those of other splits are left out. Where the split chooses among files, it is
    put before the number (``test/0``), so that the ids of two splits differ.

    Args:
        split: which split; with ``fields.split``, only records that have this value there.
        data, name, revision: as in `interlat.tasks.reading.read_records`.

    Raises:
        InputError: what `read_records` raises, a column is missing, two ids are the same, or no record is left.
    """
    records, origin = read_records(data, split, name, revision)
    has_ids = fields.id != RecordFields.id or any(record.get(fields.id) is not None for record in records)
    if fields.notes and not any(fields.notes in record for record in records):
        value_of(records[0] if records else {}, fields.notes, f"record 0 of {data}")
    prefix = f"{split}/" if split and not fields.split else ""
    chosen: list[tuple[int, str, dict[str, str]]] = []
    for number, record in enumerate(records):
        where = f"record {number} of {data}"
        record_split = value_of(record, fields.split, where) if fields.split else split
        if not split or record_split == split:
            chosen.append((number, record_split, _options(record, fields.options, where)))
    given = [(records[number].get(fields.answer), options) for number, _, options in chosen]
    # First the ways to read the answers that fit all records: a column of numbers of which some are the texts of
    # options, too, is still one of numbers.
    ways: list[_Reading] = [_by_label, _by_text, _by_number]
    asked = [(answer, options) for answer, options in given if options and answer not in (None, "")]
    fitting = [way for way in ways if all(len(way(*one)) == 1 for one in asked)]
    readings = [*fitting, *(way for way in ways if way not in fitting)]
    taken = {fields.id, fields.text, fields.answer, fields.task_type, fields.split, fields.notes, *fields.options}
    tasks = []
    for number, record_split, options in chosen:
        record, where = records[number], f"record {number} of {data}"
        metadata = {column: value for column, value in record.items() if column not in taken and _is_json(value)}
        if fields.grader == "code":
            functions = record.get(fields.functions)
            named = functions if isinstance(functions, list) else [value_of(record, fields.functions, where)]
            metadata |= {"tests": value_of(record, fields.tests, where), "functions": named, "before": ""}
        answer, text = record.get(fields.answer), value_of(record, fields.text, where)
        label = _label(answer, options, where, readings) if options else ""
        if label and len(others := {reading(answer, options)[0] for reading in fitting} - {label}):
            metadata[AMBIGUOUS] = ", ".join(sorted(others))
        tasks.append(
            Task(
                id=value_of(record, fields.id, where) if has_ids else f"{prefix}{number}",
                text=with_options(text, options) if options else text,
                answer=label if options else as_text(answer),
                split=record_split,
                task_type=value_of(record, fields.task_type, where) if fields.task_type else "",
                metadata=metadata,
                options=options,
                grader=fields.grader,
                notes=as_text(record.get(fields.notes)) if fields.notes else "",
            )
        )
    return TaskSet(tuple(tasks), origin)


def _options(record: Mapping[str, Any], columns: Sequence[str], where: str) -> dict[str, str]:
    if len(columns) != 1:
        return lettered([value_of(record, column, where) for column in columns])
    held = record.get(columns[0])
    if isinstance(held, Mapping):
        return {str(label): as_text(text) for label, text in held.items()}
    if not isinstance(held, list):
        raise InputError(
            f"{where} has no list and no object of options in {columns[0]!r}; name another column, or one for each"
        )
    return lettered([as_text(text) for text in held])


_Reading = Callable[[Any, Mapping[str, str]], list[str]]


def _by_label(answer: Any, options: Mapping[str, str]) -> list[str]:
    said = as_text(answer).strip().casefold()
    return [label for label in options if label.casefold() == said]


def _by_text(answer: Any, options: Mapping[str, str]) -> list[str]:
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    said = as_text(answer).strip()
    return [label for label, text in options.items() if not is_number and text.strip() == said]


def _by_number(answer: Any, options: Mapping[str, str]) -> list[str]:
    whole = None if isinstance(answer, bool) else re.fullmatch(r"([0-9]+)(?:\.0*)?", as_text(answer).strip())
    return [label for place, label in enumerate(options) if whole and str(place) == (whole[1].lstrip("0") or "0")]


def _label(answer: Any, options: Mapping[str, str], where: str, readings: Sequence[_Reading]) -> str:
    """The label of the right option; empty where the record has no answer."""
    if answer in (None, ""):
        return ""
    for reading in readings:
        if len(found := reading(answer, options)) == 1:
            return found[0]
    raise InputError(
        f"{where} has the answer {as_text(answer)[:40]!r}, which is none of its options {', '.join(options)}: "
        f"no label, no text and no number from 0 to {len(options) - 1}; name another column"
    )


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return math.isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)
