"""The index: one line a thought, saying what it is and where its rows stand; Parquet when a store is finished.

While a store grows, each writing process appends to a journal of its own. A journal and the index may hold the same
thought (a process killed between writing the one and removing the other): it counts once.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from interlat.errors import StorageError
from interlat.files import atomic_path, read_lines, utf8, write_atomically

INDEX_FILE = "index.parquet"
EXCLUDED_FILE = "excluded.jsonl"
JOURNALS = "journals"
SHARDS = "shards"
SHARD_NAME = r"\d{5}-\d{6}"

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


@dataclass(frozen=True)
class Place:
    """Where the rows of a thought stand and what they measure."""

    shard: str
    """Name of the shard, without ending."""
    offset: int
    """First row of the thought."""
    length: int
    """Number of rows T."""
    prompt_rows: int
    """Rows of the prompt, which stand directly before ``offset``."""
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
    """What a thought is about, from its index line."""
    fields = {f.name: row[f.name] for f in dataclasses.fields(Entry)}
    return Entry(**{**fields, "token_ids": tuple(row["token_ids"]), "metadata": json.loads(row["metadata"])})


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
    excluded = {line["id"]: Excluded(**line) for line in read_lines(directory / EXCLUDED_FILE)}
    for path in journal_paths(directory):
        for line in read_lines(path):
            if line.get("status") in ("failed", "filtered"):
                excluded[line["id"]] = Excluded(**line)
            elif line["id"] not in known:
                rows[line["id"]] = line
    if rows:
        table = _sorted(pa.concat_tables([table, pa.Table.from_pylist(list(rows.values()), schema=SCHEMA)]))
    kept = known | rows.keys()
    return Contents(table, {key: value for key, value in excluded.items() if key not in kept})


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


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([("order", "ascending"), ("id", "ascending")])


def _read_index(directory: Path) -> pa.Table:
    path = directory / INDEX_FILE
    if not path.exists():
        return SCHEMA.empty_table()
    try:
        table = pq.read_table(path, memory_map=True, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"{path} is damaged ({reason}); copy it again or collect the store again") from error
    if table.schema.names != SCHEMA.names:
        raise StorageError(f"{path} has other columns than an index; copy it again or collect the store again")
    return table.cast(SCHEMA)
