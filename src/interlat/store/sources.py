"""Items with hidden states from files of other systems: JSON, Parquet, saved `datasets` folders, the hub.

Items come one after the other, so memory does not grow with their number. Nothing here knows stores.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from huggingface_hub import HfApi
from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError, MessageError
from interlat.store.hub import hub_errors

STATES = "hidden_state"
IDS = ("task_id", "id")
BATCH_BYTES = 64 * 2**20
ROWS_OF_A_BATCH = 1000
CHUNK = 2**20
SAVED_STATE = "state.json"
SAVED_SPLITS = "dataset_dict.json"
# Where the published collectors leave their data inside the folder that they are given, in this order.
PUBLISHED_FOLDERS = ("hf_dataset", "huggingface_dataset")
PUBLISHED_FILES = ("data.parquet", "data_full.parquet", "parquet_shards/*.parquet")

_MARKS = re.compile(r'["{}\\]')


@dataclass(frozen=True, eq=False)
class Item:
    """One item as it stands in a source."""

    fields: Mapping[str, Any]
    """Its other columns."""
    states: Any
    """Its ``hidden_state``: nested lists or an Arrow scalar; None if there are none."""
    problem: str = ""
    """Why the item cannot be read at all."""

    def tensor(self) -> Float[Tensor, "T D"]:
        """The states as a matrix, a copy; ``[1, T, D]`` loses its first dimension.

        Raises:
            MessageError: no states, no rows, or rows that are no numbers of one length.
        """
        if self.problem:
            raise MessageError(self.problem)
        if isinstance(self.states, pa.Scalar):
            return _tensor_of_arrow(self.states)
        return _tensor_of_lists(self.states)


@dataclass(frozen=True)
class Source:
    """Something that has items."""

    name: str
    """Path or hub id."""
    identity: Mapping[str, str]
    """What tells this content from another: the SHA-256 of the files, or the revision on the hub."""
    count: int
    """Number of items."""
    items: Callable[[], Iterator[Item]]
    """Reads the items, from the first one every time."""


def open_source(source: str | Path, split: str = "") -> Source:
    """The items in a file or folder, or of a data set on the hub.

    Args:
        source: a .json, .jsonl or .parquet file; a folder that `datasets.Dataset.save_to_disk` or the published
            collectors wrote; or a hub id.
        split: which split, for sources that have several.

    Raises:
        InputError: there is no such source, it is damaged, or columns are missing.
    """
    path = Path(source)
    if path.is_dir():
        return _folder_source(path, split)
    if path.is_file() or path.suffix in (".json", ".jsonl", ".parquet"):
        return _file_source([path], str(path))
    return _hub_source(str(source), split)


def _folder_source(folder: Path, split: str) -> Source:
    for saved in (folder, *(folder / name for name in PUBLISHED_FOLDERS)):
        if (saved / SAVED_SPLITS).is_file():
            saved = saved / _chosen(_value_in(saved / SAVED_SPLITS, "splits"), split, str(folder))
        if (saved / SAVED_STATE).is_file():
            files = _value_in(saved / SAVED_STATE, "_data_files")
            return _arrow_source([saved / file["filename"] for file in files], str(folder))
    for pattern in PUBLISHED_FILES:
        if found := sorted(folder.glob(pattern)):
            return _file_source(found, str(folder))
    places = ", ".join((SAVED_STATE, *PUBLISHED_FOLDERS, *PUBLISHED_FILES))
    raise InputError(f"{folder} holds no data set that can be read (none of {places}); give the file itself")


def _value_in(path: Path, key: str) -> Any:
    with _readable(path):
        return json.loads(path.read_text(encoding="utf-8"))[key]


def _file_source(paths: Sequence[Path], name: str) -> Source:
    if paths[0].suffix == ".parquet":
        with _readable(paths[0]):
            _require(pq.read_schema(paths[0]).names, name)
            count = sum(pq.read_metadata(path).num_rows for path in paths)
        return Source(name, _sha256(paths), count, lambda: _arrow_items(_parquet_batches(paths)))
    if paths[0].suffix not in (".json", ".jsonl"):
        raise InputError(f"{name} has no known format; give a .json, .jsonl or .parquet file, or a folder")

    def items() -> Iterator[Item]:
        return _json_items(paths[0])

    identity = _sha256(paths)
    columns: list[str] = []
    for item in items():
        columns = [*item.fields, *([] if item.states is None else [STATES])]
        if item.states is not None:
            break
    _require(columns, name)
    with _readable(paths[0]):
        count = sum(1 for _ in _json_texts(paths[0]))
    return Source(name, identity, count, items)


def _arrow_source(paths: Sequence[Path], name: str) -> Source:
    count = 0
    for batch in _arrow_batches(paths):
        if not count:
            _require(batch.schema.names, name)
        count += len(batch)
    return Source(name, _sha256(paths), count, lambda: _arrow_items(_arrow_batches(paths)))


def _hub_source(name: str, split: str) -> Source:
    import datasets

    with hub_errors(name, datasets.exceptions.DatasetsError):
        revision = HfApi().dataset_info(name).sha
        loaded = datasets.load_dataset(name, split=split or None, revision=revision)
    if isinstance(loaded, datasets.DatasetDict):
        loaded = loaded[_chosen(list(loaded), split, name)]
    _require(loaded.column_names, name)
    table = loaded.data
    return Source(
        name,
        {"revision": str(revision)},
        len(loaded),
        lambda: _arrow_items(table.to_batches(max_chunksize=ROWS_OF_A_BATCH)),
    )


def _chosen(splits: Sequence[str], split: str, name: str) -> str:
    if not split and len(splits) == 1:
        return splits[0]
    if split not in splits:
        asked = f"no split {split!r}" if split else "several splits"
        raise InputError(f"{name} has {asked}; choose one of {', '.join(splits)}")
    return split


def _require(columns: Sequence[str], name: str) -> None:
    missing = [] if STATES in columns else [STATES]
    if not set(IDS) & set(columns):
        missing.insert(0, " or ".join(IDS))
    if missing:
        raise InputError(f"{name} has no column {', '.join(missing)}; it has {', '.join(columns) or 'none'}")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot read {path}: {reason}; check the path and copy the file again") from error


def _sha256(paths: Sequence[Path]) -> dict[str, str]:
    digest = hashlib.sha256()
    for path in paths:
        with _readable(path), open(path, "rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
    return {"sha256": digest.hexdigest()}


def _parquet_batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        # Published files have one row group, so pages are read one after the other and not the group at once.
        with _readable(path), pq.ParquetFile(path, buffer_size=CHUNK, pre_buffer=False) as file:
            metadata = file.metadata
            size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
            rows = max(1, min(ROWS_OF_A_BATCH, BATCH_BYTES * metadata.num_rows // max(size, 1)))
            yield from file.iter_batches(batch_size=rows, use_threads=False)


def _arrow_batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with _readable(path), pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            yield from reader


def _arrow_items(batches: Iterable[pa.RecordBatch]) -> Iterator[Item]:
    for batch in batches:
        states = batch.column(STATES)
        if isinstance(states, pa.ExtensionArray):
            states = states.storage
        plain = [field.name for field in batch.schema if field.name == "metadata" or _is_plain(field.type)]
        for number, fields in enumerate(batch.select(plain).to_pylist()):
            yield Item(fields, states[number])


def _is_plain(kind: Any) -> bool:
    return not pa.types.is_nested(kind) and not isinstance(kind, pa.BaseExtensionType)


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _tensor_of_arrow(states: Any) -> Tensor:
    if not states.is_valid:
        raise MessageError(f"it has no {STATES}")
    if not _is_list(states.type) or not _is_list(states.type.value_type):
        raise MessageError(f"its {STATES} is {states.type}, expected lists of lists of numbers")
    rows = states.values
    if _is_list(rows.type.value_type):
        if len(rows) != 1 or not rows[0].is_valid:
            raise MessageError(f"its {STATES} has shape [{len(rows)}, T, D], expected [T, D] or [1, T, D]")
        rows = rows[0].values
    if not len(rows):
        raise MessageError(f"its {STATES} has no rows")
    widths = pc.unique(pc.list_value_length(rows)).to_pylist()
    values = rows.flatten()
    numbers = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    if not numbers or values.null_count or len(widths) != 1 or not widths[0]:
        raise MessageError(f"the rows of its {STATES} are no numbers of one length")
    return torch.from_numpy(np.array(values.to_numpy(zero_copy_only=False))).reshape(len(rows), widths[0])


def _tensor_of_lists(states: Any) -> Tensor:
    if states is None:
        raise MessageError(f"it has no {STATES}")
    try:
        values = np.array(states, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise MessageError(f"the rows of its {STATES} are no numbers of one length") from error
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or not values.size:
        raise MessageError(f"its {STATES} has shape {list(values.shape)}, expected [T, D] or [1, T, D] with rows")
    return torch.from_numpy(values)


def _json_items(path: Path) -> Iterator[Item]:
    with _readable(path):
        for text in _json_texts(path):
            try:
                fields = json.loads(text)
            except json.JSONDecodeError as error:
                yield Item({}, None, f"it is not JSON ({error})")
                continue
            if isinstance(fields, dict):
                states = fields.pop(STATES, None)
                yield Item(fields, states)
            else:
                yield Item({}, None, f"it is {type(fields).__name__} and not a JSON object")


def _json_texts(path: Path) -> Iterator[str]:
    """The text of each object of a JSON list, or each line of JSON lines."""
    with open(path, encoding="utf-8-sig") as handle:
        character = handle.read(1)
        while character.isspace():
            character = handle.read(1)
        handle.seek(0)
        if character == "[" and path.suffix == ".json":
            yield from _objects(handle, path)
        else:
            yield from (line for line in handle if line.strip())


def _objects(handle: TextIO, path: Path) -> Iterator[str]:
    """The text of each object of a list, of which only one is in memory."""
    parts: list[str] = []
    depth, quoted = 0, False
    while chunk := _chunk(handle):
        start = place = 0
        while mark := _MARKS.search(chunk, place):
            place = mark.end()
            match mark.group(), quoted:
                case "\\", _:
                    place += 1
                case '"', _:
                    quoted = not quoted
                case "{", False:
                    start = start if depth else mark.start()
                    depth += 1
                case "}", False:
                    depth -= 1
                    if not depth:
                        yield "".join([*parts, chunk[start:place]])
                        parts.clear()
        if depth:
            parts.append(chunk[start:])
    if depth:
        raise InputError(f"{path} ends in the middle of an item; copy the file again")


def _chunk(handle: TextIO) -> str:
    chunk = handle.read(CHUNK)
    # A backslash and what it escapes stay together.
    while chunk.endswith("\\") and (following := handle.read(1)):
        chunk += following
    return chunk
