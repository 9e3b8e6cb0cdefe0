"""The index: one line a thought, saying what it is and where its rows are; Parquet when a store is finished.

While a store grows, each writing process appends to a journal of its own. A journal and the index may hold the same
thought (a process killed between writing the one and removing the other): it counts once.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from interlat.errors import StorageError
from interlat.files import atomic_path, read_lines, utf8, write_atomically
from interlat.reasoning import final_part

INDEX_FILE = "index.parquet"
EXCLUDED_FILE = "excluded.jsonl"
JOURNALS = "journals"
SHARDS = "shards"
RESTORE = "copy it again or collect the store again"
SHARD_NAME = r"\d{5}-\d{6}"
OPENED_THOUGHT = "opened_thought"
"""Key of the metadata with the mark of a thought that the prompt opened, where it did; it belongs before the plan."""

Status = Literal["failed", "filtered"]


@dataclass(frozen=True)
class Entry:
    """What one thought is about."""

    id: str
    """Unique in the store."""
    task: str = ""
    """What the sender was asked."""
    plan: str = ""
    """What it wrote; empty for latent steps."""
    task_id: str = ""
    """The task; several samples of one task share it. By default the ``id``."""
    sample: int = 0
    """Number of the sample."""
    split: str = ""
    """Such as train or test."""
    task_type: str = ""
    """Kind of task, for statistics and plots."""
    finished: bool = True
    """Whether the sender stopped by itself and not at a limit."""
    token_ids: tuple[int, ...] = ()
    """The token of each row."""
    order: int = 0
    """Place in the data set that was collected; the index is sorted by it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is known, as JSON."""

    def __post_init__(self) -> None:
        if not self.task_id:
            object.__setattr__(self, "task_id", self.id)

    @property
    def said(self) -> str:
        """The plan without thoughts, as a message in words has it; empty where a thought never ended."""
        return final_part(f"{self.metadata.get(OPENED_THOUGHT, '')}{self.plan}") or ""


@dataclass(frozen=True)
class Place:
    """Where the rows of a thought are and what they measure."""

    shard: str
    """Name of the shard, without ending."""
    offset: int
    """First row of the thought."""
    length: int
    """Number of rows T."""
    prompt_rows: int
    """Rows of the prompt, directly before ``offset``."""
    checksum: str
    """xxh3-128 over the stored bytes of prompt rows and rows, then of their scales."""
    norm_mean: float
    """Mean Euclidean norm of the rows (of the first kept layer)."""
    norm_max: float
    """Largest of these norms."""
    encoding_error: float
    """Relative error of the number format, see `interlat.store.encoding.Encoded`."""


@dataclass(frozen=True)
class Excluded:
    """A thought that is not in the store, and why."""

    id: str
    status: Status
    reason: str


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.large_string()),
        ("plan", pa.large_string()),
        ("task_id", pa.string()),
        ("sample", pa.int32()),
        ("split", pa.string()),
        ("task_type", pa.string()),
        ("finished", pa.bool_()),
        ("token_ids", pa.large_list(pa.int32())),
        ("order", pa.int64()),
        ("metadata", pa.large_string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("prompt_rows", pa.int64()),
        ("checksum", pa.string()),
        ("norm_mean", pa.float64()),
        ("norm_max", pa.float64()),
        ("encoding_error", pa.float64()),
    ]
)


def row_of(entry: Entry, place: Place) -> dict[str, Any]:
    """The index line of a thought."""
    fields = {f.name: getattr(entry, f.name) for f in dataclasses.fields(entry)}
    fields |= {f.name: getattr(place, f.name) for f in dataclasses.fields(place)}
    metadata = utf8(json.dumps(dict(entry.metadata), ensure_ascii=False)).decode()
    return {**fields, "token_ids": list(entry.token_ids), "metadata": metadata}


def entry_of(row: Mapping[str, Any]) -> Entry:
    """What a thought is about, from its index line. Raises StorageError if its metadata is no JSON object."""
    fields = {f.name: row[f.name] for f in dataclasses.fields(Entry)}
    try:
        metadata = dict(json.loads(row["metadata"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"the metadata of {row['id']!r} is no JSON object; {RESTORE}") from error
    return Entry(**{**fields, "token_ids": tuple(row["token_ids"]), "metadata": metadata})


@dataclass(frozen=True)
class Contents:
    """All that a store's index and journals say."""

    rows: pa.Table
    """One line a thought, sorted."""
    excluded: dict[str, Excluded]
    """What is not in the store, by id."""

    @property
    def ids(self) -> set[str]:
        """Ids of everything that was dealt with."""
        return set(self.rows.column("id").to_pylist()) | self.excluded.keys()


def journal_paths(directory: Path) -> list[Path]:
    """The journals of a store that is not finished."""
    return sorted((directory / JOURNALS).glob("*.jsonl"))


def read_contents(directory: Path) -> Contents:
    """What the index and all journals say; of the lines about one thought the one that kept it counts.

    Raises:
        StorageError: the index is damaged.
    """
    table = _read_index(directory)
    known = set(table.column("id").to_pylist())
    rows: dict[str, dict[str, Any]] = {}
    listed = directory / EXCLUDED_FILE
    excluded = {one.id: one for one in (_excluded(line, listed) for line in read_lines(listed))}
    for path in journal_paths(directory):
        for line in read_journal(path):
            if "status" in line:
                excluded[line["id"]] = Excluded(**line)
            elif line["id"] not in known:
                rows[line["id"]] = line
    if rows:
        table = _sorted(pa.concat_tables([table, table_of(rows.values())]))
    kept = known | rows.keys()
    return Contents(table, {key: value for key, value in excluded.items() if key not in kept})


def _excluded(line: Any, path: Path) -> Excluded:
    names = {one.name for one in dataclasses.fields(Excluded)}
    # Not by `typed`: ids and reasons may hold lone surrogates, which are just what some thoughts are left out for.
    sound = isinstance(line, dict) and line.keys() == names and all(type(value) is str for value in line.values())
    if not sound or line["status"] not in get_args(Status):
        raise StorageError(f"{path} has a line that is no thought left out; {RESTORE}")
    return Excluded(**line)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a line torn by a killed writer is left out.

    Raises:
        StorageError: a line is neither a thought nor one that was left out.
    """
    lines = read_lines(path)
    thoughts = []
    for line in lines:
        if not isinstance(line, dict) or "status" in line:
            _excluded(line, path)
        elif set(line) == set(SCHEMA.names):
            thoughts.append(line)
        else:
            raise StorageError(f"{path} has a line with other fields than a thought has; {RESTORE}")
    try:
        table = table_of(thoughts)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"{path} has a line that is no thought ({reason}); {RESTORE}") from error
    _complete(table, path)
    return lines


def _complete(table: pa.Table, path: Path) -> pa.Table:
    """The table, unless a value is missing or text is no Unicode."""
    missing = [name for name in SCHEMA.names if table.column(name).null_count]
    if missing or pc.list_flatten(table.column("token_ids")).null_count:
        raise StorageError(f"{path} has a line without {', '.join(missing) or 'a token id'}; {RESTORE}")
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise StorageError(f"{path} is damaged ({str(error).splitlines()[0]}); {RESTORE}") from error
    return table


def write_contents(directory: Path, rows: pa.Table, excluded: Iterable[Excluded]) -> None:
    """Write the index and the list of what is not in the store, each atomically."""
    lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in sorted(excluded, key=lambda e: e.id)]
    with atomic_path(directory / INDEX_FILE) as temporary:
        pq.write_table(_sorted(rows), temporary, compression="zstd", write_page_checksum=True)
    write_atomically(directory / EXCLUDED_FILE, "".join(line + "\n" for line in lines))


def remove_journals(directory: Path) -> None:
    """Remove the journals once the index holds all that they say."""
    for path in journal_paths(directory):
        path.unlink()
    with contextlib.suppress(OSError):
        (directory / JOURNALS).rmdir()


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Index lines as a table."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)


def with_column(table: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    """Index lines with other values in one column."""
    place = SCHEMA.get_field_index(name)
    return table.set_column(place, SCHEMA.field(place), pa.array(values, SCHEMA.field(place).type))


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([("order", "ascending"), ("id", "ascending")])


def _read_index(directory: Path) -> pa.Table:
    path = directory / INDEX_FILE
    if not path.exists():
        return SCHEMA.empty_table()
    try:
        table = pq.read_table(path, memory_map=True, page_checksum_verification=True)
        if table.schema.names != SCHEMA.names:
            raise StorageError(f"{path} has other columns than an index; {RESTORE}")
        table = table.cast(SCHEMA)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(f"{path} is damaged ({reason}); {RESTORE}") from error
    return _complete(table, path)
