"""Stores from and to the files in which the published Interlat system keeps its hidden states.

One item a thought: ``task_id``, ``task``, ``plan``, ``hidden_state`` (nested lists ``[T, D]``) and what else is known.
Items are read and written one after the other, or in groups of `GROUP_BYTES`.
"""

import dataclasses
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from interlat.choices import ExportForm as Form
from interlat.errors import InputError, MessageError
from interlat.files import atomic_folder, atomic_path, utf8
from interlat.states import StateAt
from interlat.store.encoding import dtype_of
from interlat.store.index import Entry
from interlat.store.manifest import Encoding, Manifest
from interlat.store.reading import LatentStore, Thought
from interlat.store.sources import IDS, SAVED, STATES, Source, open_source
from interlat.store.writer import StoreWriter, finish

GROUP_BYTES = 64 * 2**20
# Where an export keeps, in the metadata of an item, what its columns do not say; an import takes it back.
OWN_KEY = "interlat"
OWN_FIELDS = ("task_id", "sample", "split", "task_type", "finished", "token_ids")
# Columns that become fields of an entry; all others become metadata, the level of a task under a shorter name.
ENTRY_COLUMNS = {*IDS, "task", "plan", "split", "metadata"}
RENAMED = {"task_level": "level"}


def export_store(store: LatentStore, target: str | Path, form: Form, split: str = "", layer: int | None = None) -> None:
    """Write the thoughts of a store, without the states of their prompts, for other programs.

    Args:
        target: the new file; the new folder for "hf".
        form: "jsonl": an object a line; "json": a list of objects; "parquet"; "hf": a folder for
            `datasets.load_from_disk`. States are float32, of a float64 store float64; no bit is lost.
        split: only the thoughts of this split.
        layer: which of several kept layers, counted from 0 in the order of the manifest.

    Raises:
        InputError: unknown form, split or layer, several layers and none chosen, or ``target`` exists.
        StorageError: the store is damaged, or the file system refused; nothing half-written is left.
    """
    path = Path(target)
    _check_choice("form", form, Form)
    if path.exists():
        raise InputError(f"{path} exists already; give another place, or remove it first")
    chosen = _chosen_layer(store, layer)
    part = store.split(split) if split else store
    thoughts = (thought if chosen is None else _one_layer(thought, chosen) for thought in part)
    if form == "hf":
        with atomic_folder(path) as folder:
            _write_saved(thoughts, _schema(store), folder)
        return
    with atomic_path(path) as temporary:
        if form == "parquet":
            # States take no dictionary: hardly two numbers are the same.
            with pq.ParquetWriter(temporary, _schema(store), compression="zstd", use_dictionary=["split"]) as writer:
                for batch in _batches(thoughts, _schema(store)):
                    writer.write_batch(batch)
        else:
            _write_json(thoughts, temporary, as_list=form == "json")


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise InputError(f"{name} is {value!r}; choose one of {', '.join(get_args(choices))}")


def _chosen_layer(store: LatentStore, layer: int | None) -> int | None:
    """Which layer is cut out of the rows; None where rows have but one."""
    layers = store.manifest.layers
    names = ", ".join(f"{number} (layer {kept.layer}, {kept.norm}-norm)" for number, kept in enumerate(layers))
    if layer is not None and not 0 <= layer < len(layers):
        raise InputError(f"{store.directory} keeps no layer number {layer}; choose one of {names}")
    if len(layers) == 1:
        return None
    if layer is None:
        raise InputError(f"{store.directory} keeps {len(layers)} layers, an item has one; choose one of {names}")
    return layer


def _one_layer(thought: Thought, layer: int) -> Thought:
    return dataclasses.replace(thought, hidden_states=thought.hidden_states[:, layer])


def _metadata(entry: Entry) -> dict[str, Any]:
    own = {name: getattr(entry, name) for name in OWN_FIELDS}
    return {**entry.metadata, OWN_KEY: own}


def _write_json(thoughts: Iterable[Thought], path: Path, as_list: bool) -> None:
    opening, between, ending = ("[\n", ",\n", "\n]\n") if as_list else ("", "\n", "\n")
    # A lone surrogate becomes what JSON writes for it.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as handle:
        handle.write(opening)
        for number, thought in enumerate(thoughts):
            entry = thought.entry
            item = {
                "task_id": entry.id,
                "task": entry.task,
                "plan": entry.plan,
                STATES: thought.hidden_states.tolist(),
                "metadata": _metadata(entry),
            }
            handle.write((between if number else "") + json.dumps(item, ensure_ascii=False))
        handle.write(ending)


def _schema(store: LatentStore) -> pa.Schema:
    number = pa.float64() if store.manifest.dtype == "float64" else pa.float32()
    names = ("task", "task_id", "plan", STATES, "task_type", "split", "metadata")
    return pa.schema([(name, pa.list_(pa.list_(number)) if name == STATES else pa.string()) for name in names])


def _batches(thoughts: Iterable[Thought], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    group: list[Thought] = []
    size = 0
    for thought in thoughts:
        group.append(thought)
        size += thought.hidden_states.numel() * torch.float32.itemsize
        if size >= GROUP_BYTES:
            yield _batch(group, schema)
            group, size = [], 0
    if group:
        yield _batch(group, schema)


def _batch(thoughts: list[Thought], schema: pa.Schema) -> pa.RecordBatch:
    entries = [thought.entry for thought in thoughts]
    number = schema.field(STATES).type.value_type.value_type
    states = torch.cat([thought.hidden_states for thought in thoughts])
    values = states.to(torch.float64 if number == pa.float64() else torch.float32).reshape(-1).numpy()
    row_ends = np.arange(0, states.numel() + 1, states.shape[1], dtype=np.int32)
    item_ends = np.cumsum([0, *(len(thought.hidden_states) for thought in thoughts)], dtype=np.int32)
    rows = pa.ListArray.from_arrays(row_ends, pa.array(values))
    columns: dict[str, Any] = {
        "task_id": [entry.id for entry in entries],
        STATES: pa.ListArray.from_arrays(item_ends, rows),
        "metadata": [utf8(json.dumps(_metadata(entry), ensure_ascii=False)).decode() for entry in entries],
        **{name: [getattr(entry, name) for entry in entries] for name in ("task", "plan", "task_type", "split")},
    }
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _write_saved(thoughts: Iterable[Thought], schema: pa.Schema, folder: Path) -> None:
    """What `datasets.Dataset.save_to_disk` would write, without holding 1,000 thoughts at once as it does."""
    features = datasets.Features.from_arrow_schema(schema)
    name = "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(folder / name, features.arrow_schema) as writer:
        for batch in _batches(thoughts, schema):
            writer.write_batch(batch.cast(features.arrow_schema))
    datasets.DatasetInfo(features=features).write_to_directory(str(folder))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name}],
        "_fingerprint": uuid.uuid4().hex,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / SAVED[0]).write_text(json.dumps(state, indent=2), encoding="utf-8")


def import_store(
    source: str | Path,
    output: str | Path,
    *,
    state_at: StateAt,
    dtype: str = "float32",
    encoding: Encoding = "plain",
    model: str = "",
    split: str = "",
    task_type_field: str = "task_type",
) -> Iterator[tuple[int, int]]:
    """Make a store of the items of a source, yielding (items done, items in all) as it goes.

    What fails is listed in the store, and the rest goes on. An interrupted import goes on where it stopped. Items of
    the same id get ``#1``, ``#2`` and so on behind it. The source is opened at once: that it is not usable is known
    before the first step.

    Args:
        source: see `interlat.store.sources.open_source`; also what `export_store` wrote.
        output: folder of the store.
        state_at: whether row t had just read token t ("after_token", the published ALFWorld data) or predicted it
            ("before_token", the published MATH data); no file says.
        model: the model that thought, if known.
        split: split to read, of sources that have several; and of thoughts that name none.
        task_type_field: column, or key of the metadata, that holds the task type.

    Raises:
        InputError: no such source, a damaged one, missing columns, nothing usable in it, or an unknown choice.
        StorageError: the store there was made differently, or the file system refused.
    """
    _check_choice("state_at", state_at, StateAt)
    _check_choice("encoding", encoding, Encoding)
    # An unknown format is found before anything is read.
    dtype_of(dtype)
    opened = open_source(source, split)
    settings = {"imported_from": opened.name, **opened.identity, "split": split, "task_type_field": task_type_field}
    manifest = Manifest(
        hidden_size=_hidden_size(opened),
        state_at=state_at,
        dtype=dtype,
        encoding=encoding,
        method="imported",
        model=model,
        settings=settings,
    )

    def steps() -> Iterator[tuple[int, int]]:
        seen: set[str] = set()
        copies: Counter[str] = Counter()
        with StoreWriter(output, manifest) as writer:
            done = writer.contents().ids
            for number, item in enumerate(opened.items()):
                entry = _entry(item.fields, number, split, task_type_field)
                copy = copies[entry.id]
                while (identifier := f"{entry.id}#{copy}" if copy else entry.id) in seen:
                    copy += 1
                copies[entry.id] = copy + 1
                seen.add(identifier)
                if identifier not in done:
                    entry = dataclasses.replace(entry, id=identifier, sample=entry.sample or copy)
                    try:
                        # Rounded here, so that a number too large for the format is found before it is stored.
                        writer.append(entry, item.tensor().to(dtype_of(manifest.dtype)))
                    except MessageError as error:
                        writer.exclude(identifier, "failed", str(error))
                yield number + 1, opened.count
        finish(output)

    return steps()


def _hidden_size(source: Source) -> int:
    problem = ""
    for item in source.items():
        try:
            return item.tensor().shape[1]
        except MessageError as error:
            problem = problem or str(error)
    raise InputError(f"{source.name} has no item with states ({problem or 'it is empty'}); check the file")


def _entry(fields: Mapping[str, Any], number: int, split: str, task_type_field: str) -> Entry:
    identifier = next((str(fields[name]) for name in IDS if fields.get(name) not in (None, "")), f"item {number}")
    metadata = _parsed(fields.get("metadata"))
    own = metadata.pop(OWN_KEY) if isinstance(metadata.get(OWN_KEY), dict) else {}
    task_type = fields.get(task_type_field) or metadata.get(task_type_field) or own.get("task_type") or ""
    others = {
        RENAMED.get(name, name): value if isinstance(value, str | int | float | bool | list | dict) else str(value)
        for name, value in fields.items()
        if name not in ENTRY_COLUMNS and name != task_type_field and value is not None
    }
    return Entry(
        id=identifier,
        task=str(fields.get("task") or ""),
        plan=str(fields.get("plan") or ""),
        task_id=own.get("task_id", ""),
        sample=own.get("sample", 0),
        split=str(fields.get("split") or own.get("split") or split),
        task_type=str(task_type),
        finished=own.get("finished", True),
        token_ids=tuple(own.get("token_ids", ())),
        order=number,
        metadata={**others, **metadata},
    )


def _parsed(metadata: Any) -> dict[str, Any]:
    """The metadata of an item, an object or its JSON text."""
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except json.JSONDecodeError:
            metadata = {"metadata": metadata}
    return dict(metadata) if isinstance(metadata, dict) else {}
