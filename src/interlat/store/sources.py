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

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from huggingface_hub import HfApi
from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError, MessageError
from interlat.hub import hub_errors

STATES = "hidden_state"
IDS = ("task_id", "id")
BATCH_BYTES = 64 * 2**20
ROWS_OF_A_BATCH = 1000
CHUNK = 2**20
# What a folder of `save_to_disk` has: one of a data set, one of several splits.
SAVED = ("state.json", "dataset_dict.json")
# Where the published collectors leave their data inside the folder that they are given, in this order.
PUBLISHED_FOLDERS = ("hf_dataset", "huggingface_dataset")
PUBLISHED_FILES = ("data.parquet", "data_full.parquet", "parquet_shards/*.parquet")

_BETWEEN = re.compile(r"[\s,]+")


@dataclass(frozen=True, eq=False)
class Item:
    """One item as it is in a source."""

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
            return _matrix(self.states)
        try:
            return _matrix(pa.array([self.states])[0])
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise MessageError(f"the rows of its {STATES} are no numbers of one length") from error


@dataclass(frozen=True)
class Source:
    """Something that has items."""

    name: str
    """Path or hub id."""
    identity: Mapping[str, str]
    """What tells this content from another: the SHA-256 of the files, or the revision on the hub."""
    count: int
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
        if any((saved / name).is_file() for name in SAVED):
            with _readable(saved):
                loaded = datasets.load_from_disk(str(saved))
            table = _chosen(loaded, split, str(folder))
            return _table_source(str(folder), table, _sha256([Path(file["filename"]) for file in table.cache_files]))
    for pattern in PUBLISHED_FILES:
        if found := sorted(folder.glob(pattern)):
            return _file_source(found, str(folder))
    places = ", ".join((SAVED[0], *PUBLISHED_FOLDERS, *PUBLISHED_FILES))
    raise InputError(f"{folder} holds no data set that can be read (none of {places}); give the file itself")


def _file_source(paths: Sequence[Path], name: str) -> Source:
    path = paths[0]
    if path.suffix == ".parquet":
        with _readable(path):
            _require(pq.read_schema(path).names, name)
            count = sum(pq.read_metadata(one).num_rows for one in paths)
        return Source(name, _sha256(paths), count, lambda: _arrow_items(_parquet_batches(paths)))
    if path.suffix not in (".json", ".jsonl"):
        raise InputError(f"{name} has no known format; give a .json, .jsonl or .parquet file, or a folder")
    identity = _sha256(paths)
    with_states = (item for item in _json_items(path) if item.states is not None)
    first = next(with_states, None) or next(_json_items(path), None)
    known = [] if first is None else [*first.fields, *([] if first.states is None else [STATES])]
    _require(known, name)
    with _readable(path):
        count = sum(1 for _ in _json_values(path))
    return Source(name, identity, count, lambda: _json_items(path))


def _hub_source(name: str, split: str) -> Source:
    with hub_errors(name, datasets.exceptions.DatasetsError):
        revision = HfApi().dataset_info(name).sha
        loaded = datasets.load_dataset(name, split=split or None, revision=revision)
    return _table_source(name, _chosen(loaded, split, name), {"revision": str(revision)})


def _table_source(name: str, table: datasets.Dataset, identity: Mapping[str, str]) -> Source:
    _require(table.column_names, name)
    rows = ROWS_OF_A_BATCH
    return Source(name, identity, len(table), lambda: _arrow_items(table.data.to_batches(max_chunksize=rows)))


def _chosen(loaded: datasets.Dataset | datasets.DatasetDict, split: str, name: str) -> datasets.Dataset:
    if isinstance(loaded, datasets.Dataset):
        return loaded
    if not split and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split not in loaded:
        asked = f"no split {split!r}" if split else "several splits"
        raise InputError(f"{name} has {asked}; choose one of {', '.join(loaded)}")
    return loaded[split]


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
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, KeyError, pa.ArrowException) as error:
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


def _matrix(states: Any) -> Tensor:
    if not states.is_valid:
        raise MessageError(f"it has no {STATES}")
    if _is_list(states.type) and not len(states.values):
        raise MessageError(f"its {STATES} has no rows")
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


def _json_items(path: Path) -> Iterator[Item]:
    with _readable(path):
        for value in _json_values(path):
            try:
                fields = json.loads(value) if isinstance(value, str) else value
            except (json.JSONDecodeError, RecursionError) as error:
                yield Item({}, None, f"it is not JSON ({error})")
                continue
            if isinstance(fields, dict):
                states = fields.pop(STATES, None)
                yield Item(fields, states)
            else:
                yield Item({}, None, f"it is {type(fields).__name__} and not a JSON object")


def _json_values(path: Path) -> Iterator[Any]:
    """The values of a JSON list, or the lines of JSON lines as text."""
    with open(path, encoding="utf-8-sig") as handle:
        character = handle.read(1)
        while character.isspace():
            character = handle.read(1)
        if character == "[" and path.suffix == ".json":
            yield from _values_of_list(handle)
        else:
            handle.seek(0)
            yield from (line for line in handle if line.strip())


def _values_of_list(handle: TextIO) -> Iterator[Any]:
    """The values behind the bracket that opens a list, of which only one is in memory."""
    decoder, text, place = json.JSONDecoder(), "", 0
    while True:
        between = _BETWEEN.match(text, place)
        place = between.end() if between else place
        if text.startswith("]", place):
            return
        try:
            value, end = decoder.raw_decode(text, place)
            if end == len(text):
                raise json.JSONDecodeError("the list has no end", text, end)  # or the value, a number, goes on
        except json.JSONDecodeError:
            chunk = handle.read(max(CHUNK, len(text) - place))
            if not chunk:
                raise
            text, place = text[place:] + chunk, 0
            continue
        yield value
        place = end
