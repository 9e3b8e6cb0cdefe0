"""Rows of a data set from a local file, a folder or the Hugging Face hub, and tasks from any such rows."""

import contextlib
import csv
import glob
import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from interlat.errors import InputError
from interlat.files import sha256_of
from interlat.tasks.base import Grader, Task, TaskSet

SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".parquet", ".csv")
"""How the name of a file that can be read ends."""


AMBIGUOUS = "ambiguous_answer"
"""Key of the metadata with the options that the answer of a row could mean, too, such as B for the text 1."""


def is_local(data: str) -> bool:
    """Whether ``data`` means a path: it exists, or is written like one. Anything else is an id on the hub."""
    return Path(data).expanduser().exists() or data.endswith(SUFFIXES) or data.startswith((".", "/", "~"))


def read_rows(
    data: str, split: str = "", name: str = "", revision: str = ""
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All rows of one split of a data set.

    Args:
        data: a .json, .jsonl, .jsonl.gz, .parquet or .csv file; a folder of such files, one (or numbered Parquet
            parts) a split, in itself, in ``data/`` or in ``<name>/``; a folder that `datasets` saved to disk; or an
            id on the Hugging Face hub.
        split: which split; not looked at where ``data`` is one file or one saved data set.
        name: the configuration on the hub, a subfolder of a folder.
        revision: branch, tag or commit on the hub; a full commit is taken as it is, without asking the hub.

    Returns:
        The rows, and their origin: ``data`` with ``sha256`` for local data or ``revision`` (a commit) for the hub.
        The hash of several files is that of the lines that ``sha256sum`` prints for them.

    Raises:
        InputError: there is nothing to read, it is damaged, or the hub refuses.
    """
    if not is_local(data):
        return _hub_rows(data, split, name, revision)
    path = Path(data).expanduser()
    if not path.exists():
        raise InputError(f"there is no file {data}; correct the path, or name a data set of the hub as owner/name")
    if path.is_dir() and (path / "dataset_dict.json").exists():
        path = _saved_split(path, split)
    if (path / "state.json").exists():
        return _saved_rows(path, data)
    files = _files_of_split(path, split, name) if path.is_dir() else [path]
    return [row for file in files for row in _file_rows(file)], {"data": data, "sha256": _digest(files, path)}


@dataclass(frozen=True)
class RecordFields:
    """Which column of a data set is what. An empty name is no column."""

    id: str = "id"
    """Id of a task. If it is left at its default and there is no such column, the row numbers are the ids."""
    text: str = "question"
    """What the model is asked; every row needs it."""
    answer: str = "answer"
    """The right answer; rows may lack it."""
    task_type: str = ""
    """Subject or part."""
    split: str = ""
    """For files that hold several splits: the column that says which split a row belongs to."""
    options: tuple[str, ...] = ()
    """Of questions with options: the column with all of them, as a list or as an object of texts by label, or one
    column for each. The answer is then a label, the text of an option, or a number that counts from 0: the first of
    these that fits all rows, else the first that fits a row. A whole number of JSON or Parquet is never a text."""
    grader: Grader = "mathematics"
    """Who judges: mathematics (numbers, expressions, words), choice (options), or code (programs)."""
    tests: str = "test"
    """code: the column with statements that raise an exception unless the program is right."""
    functions: str = "entry_point"
    """code: the column with the function that the tests call, or a list of several."""

    def __post_init__(self) -> None:
        if (self.grader == "choice") != bool(self.options):
            raise InputError(
                f"the grader is {self.grader} and the options are {list(self.options)}; name columns with options "
                "where the grader is choice, and nowhere else"
            )


def load_records(data: str, split: str, fields: RecordFields, name: str = "", revision: str = "") -> TaskSet:
    """Any question set as tasks; columns with JSON values that are not in ``fields`` become metadata.

    Rows are numbered from 0 before rows of other splits are left out. Where the split chooses among files, it stands
    before the number (``test/0``), so that the ids of two splits differ.

    Args:
        data: what `read_rows` reads.
        split: which split; with ``fields.split``, only rows that have this value there.
        fields: the names of the columns.
        name: as in `read_rows`.
        revision: as in `read_rows`.

    Raises:
        InputError: what `read_rows` raises, a column is missing, two ids are the same, or no row is left.
    """
    rows, origin = read_rows(data, split, name, revision)
    has_ids = fields.id != RecordFields.id or any(row.get(fields.id) is not None for row in rows)
    prefix = f"{split}/" if split and not fields.split else ""
    chosen: list[tuple[int, str, dict[str, str]]] = []
    for number, row in enumerate(rows):
        where = f"row {number} of {data}"
        row_split = value_of(row, fields.split, where) if fields.split else split
        if not split or row_split == split:
            chosen.append((number, row_split, _options(row, fields.options, where)))
    readings, fitting = _readings([(rows[number].get(fields.answer), options) for number, _, options in chosen])
    tasks = []
    for number, row_split, options in chosen:
        row, where = rows[number], f"row {number} of {data}"
        taken = (fields.id, fields.text, fields.answer, fields.task_type, fields.split, *fields.options)
        metadata = {column: value for column, value in row.items() if column not in taken and _is_json(value)}
        if fields.grader == "code":
            metadata |= _tested(row, fields, where)
        answer, text = row.get(fields.answer), value_of(row, fields.text, where)
        label = _label(answer, options, where, readings) if options else ""
        if label and len(others := {reading(answer, options)[0] for reading in fitting} - {label}):
            metadata[AMBIGUOUS] = ", ".join(sorted(others))
        task = Task(
            id=value_of(row, fields.id, where) if has_ids else f"{prefix}{number}",
            text=with_options(text, options) if options else text,
            answer=label if options else _as_text(answer),
            split=row_split,
            task_type=value_of(row, fields.task_type, where) if fields.task_type else "",
            metadata=metadata,
            options=options,
            grader=fields.grader,
        )
        tasks.append(task)
    return TaskSet(tuple(tasks), origin)


def value_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """What ``row`` has in ``column``, as text.

    Args:
        row: one row.
        column: the name of the column.
        where: which row it is, for the message.

    Raises:
        InputError: there is no such column or nothing in it; the message lists the columns that there are.
    """
    if row.get(column) is None:
        columns = ", ".join(row) or "none"
        raise InputError(
            f"{where} has no {column!r}; its columns are {columns}: name one of these (such as --source.fields.text), "
            "or use other data"
        )
    return _as_text(row[column])


def with_options(question: str, options: Mapping[str, str]) -> str:
    """A question and its options, one a line behind its label."""
    return "\n".join([question.rstrip(), "", *(f"{label}: {text}" for label, text in options.items())])


def lettered(texts: Sequence[str]) -> dict[str, str]:
    """Options under the labels A to Z, AA, AB and so on."""
    lengths = range(1, 2 + len(texts) // len(ascii_uppercase))
    labels = ("".join(letters) for length in lengths for letters in product(ascii_uppercase, repeat=length))
    return dict(zip(labels, texts, strict=False))


def _options(row: Mapping[str, Any], columns: Sequence[str], where: str) -> dict[str, str]:
    if len(columns) != 1:
        return lettered([value_of(row, column, where) for column in columns])
    held = row.get(columns[0])
    if isinstance(held, Mapping):
        return {str(label): _as_text(text) for label, text in held.items()}
    if not isinstance(held, list):
        raise InputError(
            f"{where} has no list and no object of options in {columns[0]!r}; name another column, or one for each"
        )
    return lettered([_as_text(text) for text in held])


_Reading = Callable[[Any, Mapping[str, str]], list[str]]


def _by_label(answer: Any, options: Mapping[str, str]) -> list[str]:
    said = _as_text(answer).strip().casefold()
    return [label for label in options if label.casefold() == said]


def _by_text(answer: Any, options: Mapping[str, str]) -> list[str]:
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    said = _as_text(answer).strip()
    return [label for label, text in options.items() if not is_number and text.strip() == said]


def _by_number(answer: Any, options: Mapping[str, str]) -> list[str]:
    whole = None if isinstance(answer, bool) else re.fullmatch(r"([0-9]+)(?:\.0*)?", _as_text(answer).strip())
    return [label for place, label in enumerate(options) if whole and str(place) == (whole[1].lstrip("0") or "0")]


def _readings(answers: Sequence[tuple[Any, Mapping[str, str]]]) -> tuple[list[_Reading], list[_Reading]]:
    """All ways to read the answers of a column, and those that fit all rows, which go first.

    A column of numbers of which some are the texts of options, too, is still one of numbers.
    """
    given = [(answer, options) for answer, options in answers if options and answer not in (None, "")]
    ways: list[_Reading] = [_by_label, _by_text, _by_number]
    fitting = [way for way in ways if all(len(way(*one)) == 1 for one in given)]
    return [*fitting, *(way for way in ways if way not in fitting)], fitting


def _label(answer: Any, options: Mapping[str, str], where: str, readings: Sequence[_Reading]) -> str:
    """The label of the right option; empty where the row has no answer."""
    if answer is None or answer == "":
        return ""
    for reading in readings:
        found = reading(answer, options)
        if len(found) == 1:
            return found[0]
    raise InputError(
        f"{where} has the answer {_as_text(answer)[:40]!r}, which is none of its options {', '.join(options)}: "
        f"no label, no text and no number from 0 to {len(options) - 1}; name another column"
    )


def _tested(row: Mapping[str, Any], fields: RecordFields, where: str) -> dict[str, Any]:
    functions = row.get(fields.functions)
    named = functions if isinstance(functions, list) else [value_of(row, fields.functions, where)]
    return {"tests": value_of(row, fields.tests, where), "functions": named, "before": ""}


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return math.isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)


@contextlib.contextmanager
def _damage_is_an_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {path} ({reason}); correct the file or fetch it again") from error


def _file_rows(path: Path) -> list[dict[str, Any]]:
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path} is no data file, expected a name that ends in {', '.join(SUFFIXES)}; convert it")
    with _damage_is_an_input_error(path):
        if path.suffix == ".parquet":
            import pyarrow.parquet

            rows: list[dict[str, Any]] = pyarrow.parquet.ParquetFile(path).read().to_pylist()
            return rows
        # "utf-8-sig" reads UTF-8 with or without the mark that spreadsheets put in front.
        if path.suffix == ".json":
            return _json_rows(path.read_text(encoding="utf-8-sig"), path)
        opened = gzip.open if path.suffix == ".gz" else open
        # Only "\n" and its like end a line here; str.splitlines would also cut at U+2028 inside a JSON string.
        with opened(path, "rt", encoding="utf-8-sig", newline="" if path.suffix == ".csv" else None) as lines:
            if path.suffix == ".csv":
                return _csv_rows(lines, path)
            numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
            return [_object(_parsed(line.strip(), path, number), f"{path} line {number}") for number, line in numbered]


def _parsed(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise InputError(f"{path} line {line} is no JSON ({error.msg}); correct the line") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"{where} is {json.dumps(value)[:40]}, expected an object {{...}} with a field for each column"
        )
    return value


def _json_rows(text: str, path: Path) -> list[dict[str, Any]]:
    content = _parsed(text, path, 1)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise InputError(f"{path} holds no list of rows, expected [{{...}}, ...] or an object with one such list")
    return [_object(row, f"row {number} of {path}") for number, row in enumerate(content)]


def _csv_rows(lines: Iterator[str], path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(lines, strict=True)
    rows = []
    for row in reader:
        # DictReader keeps surplus cells under None and fills missing ones with None.
        if None in row or None in row.values():
            raise InputError(
                f"{path} line {reader.line_num} has not as many cells as the first line, which names the columns; "
                "correct it (quote cells that hold a comma)"
            )
        rows.append(dict(row))
    return rows


def _files_of_split(folder: Path, split: str, name: str) -> list[Path]:
    """The file of a split, or all its numbered parts in their order."""
    places = [folder / name, folder, folder / "data"] if name else [folder, folder / "data"]
    for place in places:
        files = [file for suffix in SUFFIXES if (file := place / f"{split}{suffix}").is_file()]
        parts = sorted(place.glob(f"{glob.escape(split)}-[0-9]*-of-[0-9]*.parquet"))
        if len(files) + bool(parts) > 1:
            found = ", ".join(file.name for file in [*files, *parts[:1]])
            raise InputError(f"{place} holds split {split!r} more than once ({found}); give the path of one of them")
        if parts:
            expected = int(parts[0].stem.rpartition("-")[2])
            if len(parts) != expected:
                raise InputError(
                    f"{place} holds {len(parts)} of {expected} parts of split {split!r}; fetch all of them"
                )
        if files or parts:
            return [*files, *parts]
    held = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.name.endswith(SUFFIXES))
    raise InputError(
        f"{folder} has no file for split {split!r}, expected {split or '<split>'}.jsonl or the like; "
        f"it holds {', '.join(held[:8]) or 'no data files'}: choose a split of these, or give the path of a file"
    )


def _digest(files: Sequence[Path], root: Path) -> str:
    hashes = {}
    for file in files:
        with open(file, "rb") as handle:
            hashes[file.relative_to(root).as_posix()] = hashlib.file_digest(handle, "sha256").hexdigest()
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return sha256_of("".join(f"{hashes[file]}  {file}\n" for file in sorted(hashes)).encode())


def _saved_split(folder: Path, split: str) -> Path:
    if not split or not (folder / split / "state.json").exists():
        splits = sorted(file.parent.name for file in folder.glob("*/state.json"))
        raise InputError(f"{folder} has no split {split!r}; choose one of {', '.join(splits) or 'another folder'}")
    return folder / split


def _saved_rows(folder: Path, data: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    import datasets

    with _damage_is_an_input_error(folder):
        rows: list[dict[str, Any]] = datasets.load_from_disk(str(folder)).to_list()
        # Other files there may be caches, which come and go.
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    files = [folder / file["filename"] for file in state["_data_files"]]
    return rows, {"data": data, "sha256": _digest(files, folder)}


def _hub_rows(data: str, split: str, name: str, revision: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    if not split:
        raise InputError(f"no split was named for the data set {data!r} of the hub; name one, such as train or test")
    try:
        is_commit = re.fullmatch("[0-9a-f]{40}", revision)
        commit = revision if is_commit else str(HfApi().dataset_info(data, revision=revision or None).sha)
        rows: list[dict[str, Any]] = datasets.load_dataset(data, name or None, split=split, revision=commit).to_list()
    # HTTPError: without a network. RuntimeError: a data set that needs a program of its own to be read.
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot read split {split!r} of {data!r} ({name or 'no configuration'}) from the hub: {reason}; "
            "check the names and the network, or give a local file"
        ) from error
    return rows, {"data": data, "revision": commit}
