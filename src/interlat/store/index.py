"""The index of a store: one line for each thought, with its entry and the place of its states. Parquet when finished.

While a store grows, each writing process appends to its own journal. If a process is killed between writing the index
and removing its journal, both hold the same thought, which then counts once.

The index has checksums of the states. The seal of a finished store has checksums of the index itself, of the list of
excluded thoughts and of the manifest. It is written last, and checked whenever the store is opened.
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
import xxhash

from interlat.errors import StorageError
from interlat.files import atomic_path, read_lines, storage_errors, utf8, write_atomically
from interlat.reasoning import final_part
from interlat.store.manifest import MANIFEST_FILE
from interlat.store.shard import ENDING

INDEX_FILE = "index.parquet"
EXCLUDED_FILE = "excluded.jsonl"
JOURNALS = "journals"
SHARDS = "shards"
RESTORE = "copy the store again, restore the file, or collect the store again"
SEAL_FILE = "seal.json"
SEALED = (MANIFEST_FILE, INDEX_FILE, EXCLUDED_FILE)
SHARD_NAME = r"\d{5}-\d{6}"
OPENED_THOUGHT = "opened_thought"
"""Key of the metadata with the mark of a thought that the prompt opened, where it did; it belongs before the plan."""

Status = Literal["failed", "filtered"]


@dataclass(frozen=True)
class Entry:
    """The index entry of one thought: task, plan and origin."""

    id: str
    """Unique in the store."""
    task: str = ""
    """The task that the sender was given."""
    plan: str = ""
    """The text that the sender wrote. Empty for latent steps."""
    task_id: str = ""
    """Id of the task. Several samples of one task share it. The default is the ``id``."""
    sample: int = 0
    """Number of the sample."""
    split: str = ""
    """Split of the data, such as train or test."""
    task_type: str = ""
    """Kind of task, for statistics and plots."""
    finished: bool = True
    """Whether the sender stopped by itself rather than at a limit."""
    token_ids: tuple[int, ...] = ()
    """The token of each latent."""
    order: int = 0
    """Place in the data set that was collected. The index is sorted by it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Further information, as JSON."""

    def __post_init__(self) -> None:
        if not self.task_id:
            object.__setattr__(self, "task_id", self.id)

    @property
    def said(self) -> str:
        """The plan without its reasoning, as in a text message. Empty if the reasoning never ended."""
        return final_part(f"{self.metadata.get(OPENED_THOUGHT, '')}{self.plan}") or ""


@dataclass(frozen=True)
class Place:
    """The place of a thought's states in the store, and their norms."""

    shard: str
    """Name of the shard, without its file ending."""
    offset: int
    """Index of the thought's first state in the shard."""
    length: int
    prompt_rows: int
    """Number of states of the prompt, directly before ``offset``."""
    checksum: str
    """xxh3-128 over the stored bytes of the prompt's and the thought's states, then of their scales."""
    norm_mean: float
    """Mean Euclidean norm of the thought's states (of the first kept layer)."""
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


# Texts that may be long, and whole numbers that are never large; all else by the type of its field.
_COLUMNS: dict[str, pa.DataType] = {
    **{name: pa.large_string() for name in ("task", "plan", "metadata")},
    "sample": pa.int32(),
    "token_ids": pa.large_list(pa.int32()),
}
_COLUMNS_OF: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
SCHEMA = pa.schema(
    [(f.name, _COLUMNS.get(f.name) or _COLUMNS_OF[f.type]) for kind in (Entry, Place) for f in dataclasses.fields(kind)]
)


def row_of(entry: Entry, place: Place) -> dict[str, Any]:
    """The index line of a thought."""
    metadata = utf8(json.dumps(dict(entry.metadata), ensure_ascii=False)).decode()
    return {**vars(entry), **vars(place), "token_ids": list(entry.token_ids), "metadata": metadata}


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a thought, from its index line. Raises StorageError if its metadata is not a JSON object."""
    fields = {f.name: row[f.name] for f in dataclasses.fields(Entry)}
    try:
        metadata = dict(json.loads(row["metadata"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"the metadata of {row['id']!r} is no JSON object; {RESTORE}") from error
    return Entry(**{**fields, "token_ids": tuple(row["token_ids"]), "metadata": metadata})


@dataclass(frozen=True)
class Contents:
    """The contents of a store's index and journals."""

    rows: pa.Table
    """One line for each thought, sorted."""
    excluded: dict[str, Excluded]
    """Excluded thoughts, by id."""

    @property
    def ids(self) -> set[str]:
        """Ids of all thoughts, stored or excluded."""
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
    """Write the index and the list of what is not in the store, each atomically, and seal both with the manifest.

    The old seal goes first: a process that is killed here leaves a store without a seal, not with a wrong one.
    """
    with storage_errors(directory / SEAL_FILE):
        (directory / SEAL_FILE).unlink(missing_ok=True)
    lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in sorted(excluded, key=lambda e: e.id)]
    with atomic_path(directory / INDEX_FILE) as temporary:
        pq.write_table(_sorted(rows), temporary, compression="zstd", write_page_checksum=True)
    write_atomically(directory / EXCLUDED_FILE, "".join(line + "\n" for line in lines))
    write_seal(directory, len(rows))


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


def write_seal(directory: Path, thoughts: int) -> None:
    """Write the seal of a store whose other files are complete and whose index names this many thoughts."""
    content = {"thoughts": thoughts, "xxh3": {name: _digest(directory / name) for name in SEALED}}
    write_atomically(directory / SEAL_FILE, json.dumps(content, indent=2) + "\n")


def check_seal(directory: Path, thoughts: int) -> None:
    """Compare a store with its seal. A store of the first edition has none and passes unless its index is gone.

    While journals are there, the store is being written: its files may then be newer than its seal, but never hold
    less.

    Args:
        thoughts: how many its index and journals name.

    Raises:
        StorageError: names the file that is missing or was changed.
    """
    growing = bool(journal_paths(directory))
    if not growing and not (directory / INDEX_FILE).exists():
        shards = sorted((directory / SHARDS).glob(f"*{ENDING}"))
        if shards:
            raise StorageError(f"{directory} has {len(shards)} shards but no {INDEX_FILE}, expected one; {RESTORE}")
    path = directory / SEAL_FILE
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sealed, digests = int(content["thoughts"]), {name: str(content["xxh3"][name]) for name in SEALED}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged ({error!r}); {RESTORE}") from error
    if thoughts < sealed:
        raise StorageError(f"{directory} has {thoughts} thoughts, expected {sealed} by {SEAL_FILE}; {RESTORE}")
    if growing:
        return
    changed = [name for name, digest in digests.items() if _digest(directory / name) != digest]
    if changed or thoughts != sealed:
        named = ", ".join(changed) or f"the number of thoughts ({thoughts}, expected {sealed})"
        raise StorageError(f"{named} of {directory} was changed after the store was finished; {RESTORE}")


def _digest(path: Path) -> str:
    """xxh3-128 of a file; finds damage, not forgery. A missing file is like an empty one."""
    return str(xxhash.xxh3_128(path.read_bytes() if path.exists() else b"").hexdigest())
