"""Several stores as one: shards are copied as they are, the index is written anew."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from interlat.errors import InputError, StorageError
from interlat.files import atomic_folder, require_empty
from interlat.store.index import SHARDS, Excluded, with_column, write_contents
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.store.shard import ENDING

MUST_AGREE = (
    *("hidden_size", "layers", "state_at", "dtype", "encoding", "method", "prompt_states"),
    *("weights_fingerprint", "tokenizer_fingerprint"),
)


def merge(sources: Sequence[str | Path], output: str | Path) -> None:
    """Write the thoughts of several finished stores into a new one, in the order of the stores.

    A thought that is in several stores with the same bytes is kept once.

    Args:
        output: folder of the new store; must not exist or be empty.

    Raises:
        InputError: no sources, one that is not finished, stores of different kinds, thoughts of the same id with
            different bytes, or an output that is not empty.
        StorageError: a source is damaged, or the file system refused.
    """
    target = Path(output)
    require_empty(target)
    if not sources:
        raise InputError("no stores to merge; give at least one")
    stores = [LatentStore.open(source) for source in sources]
    _check(stores)
    tables = _without_duplicates(stores)
    shards = [sorted(set(table.column("shard").to_pylist())) for table in tables]
    for store, names in zip(stores, shards, strict=True):
        for name in names:
            if not _shard(store.directory, name).is_file():
                raise StorageError(f"shard {name} of {store.directory} is missing; copy it again, then merge")
    excluded: dict[str, Excluded] = {}
    for store in reversed(stores):
        excluded |= store.excluded
    with atomic_folder(target) as temporary:
        (temporary / SHARDS).mkdir()
        renamed = []
        for source, (store, table, names) in enumerate(zip(stores, tables, shards, strict=True)):
            new_names = {name: f"{source:05d}-{number:06d}" for number, name in enumerate(names)}
            for name, new_name in new_names.items():
                shutil.copyfile(_shard(store.directory, name), _shard(temporary, new_name))
            column = [new_names[name] for name in table.column("shard").to_pylist()]
            renamed.append(with_column(table, "shard", column))
        rows = pa.concat_tables(renamed)
        rows = with_column(rows, "order", range(len(rows)))
        kept = set(rows.column("id").to_pylist())
        _manifest(stores).write(temporary)
        write_contents(temporary, rows, [one for key, one in excluded.items() if key not in kept])


def _shard(directory: Path, name: str) -> Path:
    return directory / SHARDS / f"{name}{ENDING}"


def _check(stores: Sequence[LatentStore]) -> None:
    first = stores[0]
    for store in stores:
        if store.unfinished:
            raise InputError(f"{store.directory} is not finished; finish the collection first, then merge")
        different = first.manifest.differences(store.manifest, fields=MUST_AGREE)
        if different:
            pairs = ", ".join(
                f"{name} ({getattr(first.manifest, name)!s} and {getattr(store.manifest, name)!s})"
                for name in different
            )
            raise InputError(
                f"{first.directory} and {store.directory} differ in {pairs}; only stores of one kind can be merged"
            )


def _without_duplicates(stores: Sequence[LatentStore]) -> list[pa.Table]:
    owners: dict[str, tuple[str, Path]] = {}
    tables = []
    for store in stores:
        new = []
        checksums = store.table.column("checksum").to_pylist()
        for number, (identifier, checksum) in enumerate(zip(store.ids, checksums, strict=True)):
            if identifier not in owners:
                owners[identifier] = (checksum, store.directory)
                new.append(number)
            elif owners[identifier][0] != checksum:
                raise InputError(
                    f"{identifier} is in {owners[identifier][1]} and in {store.directory} with different states; "
                    "leave one of the stores out, or collect it with other ids"
                )
        tables.append(store.table.take(pa.array(new, pa.int64())))
    return tables


def _manifest(stores: Sequence[LatentStore]) -> Manifest:
    """The manifest of the first store; where the stores were made differently, it says how each was."""
    first = stores[0].manifest
    made: list[dict[str, Any]] = [
        {
            "path": str(store.directory),
            "model": store.manifest.model,
            "revision": store.manifest.revision,
            "settings": store.manifest.settings,
        }
        for store in stores
    ]
    if all({**one, "path": ""} == {**made[0], "path": ""} for one in made):
        return first
    return dataclasses.replace(first, settings={"merged": made})
