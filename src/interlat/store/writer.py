"""Writes a store thought by thought. A thought belongs to the store as soon as it is appended."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from interlat.errors import MessageError, StorageError
from interlat.files import lock, lone_surrogate, storage_errors, utf8
from interlat.store.encoding import encode, stored_dtype
from interlat.store.index import (
    JOURNALS,
    SHARDS,
    Contents,
    Entry,
    Place,
    Status,
    journal_paths,
    read_contents,
    read_journal,
    remove_journals,
    row_of,
    write_contents,
)
from interlat.store.manifest import MANIFEST_FILE, Manifest, read_manifest
from interlat.store.shard import PARTIAL, SCALES, ShardFormat, ShardWriter, as_bytes, rows_on_disk

SHARD_BYTES = 256 * 2**20
SYNC_SECONDS = 1.0


def shard_format(manifest: Manifest) -> ShardFormat:
    """The format of the states in a store's shards."""
    dtype = stored_dtype(manifest.dtype, manifest.encoding)
    return ShardFormat(dtype, manifest.row_shape, manifest.encoding != "plain")


class StoreWriter:
    """Appends thoughts to a new or an existing store. Each rank has one writer, and ranks can write at the same time.

    Appended thoughts survive if the process is killed. The writers leave journals, and `finish` makes the index.

    Args:
        directory: folder of the store.
        manifest: must agree with the manifest of an existing store.
        rank: number of this process.
        shard_bytes: a shard is closed when it has this size.

    Raises:
        StorageError: the existing store was made differently, another process writes to it with the same rank, or the
            file system refused.
    """

    def __init__(
        self, directory: str | Path, manifest: Manifest, rank: int = 0, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.directory = Path(directory)
        self.manifest = manifest
        self.rank = rank
        self.shard_bytes = shard_bytes
        self.bytes_written = 0
        self._shard: ShardWriter | None = None
        self._form = shard_format(manifest)
        self._synced = time.monotonic()
        self._begin()
        journal = self.directory / JOURNALS / f"{rank:05d}.jsonl"
        # Kept open, and locked, until close.
        self._journal = lock(journal, f"another process writes to {self.directory} as rank {rank}")
        self._recover(journal)
        self._kept = set(self.contents().rows.column("id").to_pylist())

    def _begin(self) -> None:
        if not (self.directory / MANIFEST_FILE).exists():
            self.manifest.write(self.directory)
            return
        different = read_manifest(self.directory).differences(self.manifest)
        if different:
            raise StorageError(
                f"the store {self.directory} was made with another {', '.join(different)}; "
                "give the same settings to go on with it, or another output place"
            )

    def _recover(self, journal: Path) -> None:
        """Drop a torn last line and lines about states that never reached the disk, and continue an unclosed shard."""
        lines = read_journal(journal)
        ends: dict[str, int] = {}
        for line in lines:
            if "shard" in line:
                ends[line["shard"]] = max(ends.get(line["shard"], 0), line["offset"] + line["length"])
        open_stems = [self._stem(path.name.removesuffix(PARTIAL)) for path in self._files(PARTIAL)]
        on_disk = {stem.name: rows_on_disk(stem, self._form) for stem in open_stems}
        limits = [on_disk.get(line.get("shard", ""), math.inf) for line in lines]
        kept = [a for a, most in zip(lines, limits, strict=True) if a.get("offset", 0) + a.get("length", 0) <= most]
        content = utf8("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        found = journal.read_bytes()
        if content != found:
            with storage_errors(journal):
                # In place and not by renaming: the lock belongs to this very file. A torn last line is only cut off, so
                # that another rank that reads the journal at this moment misses nothing.
                self._journal.truncate(len(content) if found.startswith(content) else 0)
                self._journal.write(b"" if found.startswith(content) else content)
                self._journal.flush()
        for stem in open_stems:
            rows = min(ends.get(stem.name, 0), on_disk[stem.name])
            self.close_shard()
            self._shard = ShardWriter(stem, self._form, rows)
        for path in self._files(SCALES):
            # Of a shard that was renamed just before its process was killed.
            if not path.with_name(path.name.removesuffix(SCALES) + PARTIAL).exists():
                path.unlink()

    def _files(self, ending: str) -> list[Path]:
        return sorted((self.directory / SHARDS).glob(f"{self.rank:05d}-*{ending}"))

    def _stem(self, name: str) -> Path:
        return self.directory / SHARDS / name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def contents(self) -> Contents:
        """The current contents of the store, including the thoughts of other ranks."""
        return read_contents(self.directory)

    def append(
        self,
        entry: Entry,
        hidden_states: Float[Tensor, "T *row_shape"],
        prompt_states: Float[Tensor, "P *row_shape"] | None = None,
    ) -> Place:
        """Append one thought. When this returns, the thought belongs to the store.

        Args:
            entry: index entry of the thought.
            hidden_states: states of the thought, at least one.
            prompt_states: states of its prompt, if the store keeps them.

        Raises:
            MessageError: there are no states or they do not have the store's shape, prompt states are missing or not
                wanted, the id is already in the store, a text is not valid Unicode, or values are not finite or too
                large for the store's format.
            StorageError: the file system refused.
        """
        prompt_rows = 0 if prompt_states is None else len(prompt_states)
        rows = hidden_states if prompt_states is None else torch.cat([prompt_states, hidden_states])
        self._check_shape(entry, rows, len(hidden_states), prompt_rows)
        norms = row_norms(rows)
        _check_values(rows, norms)
        encoded = encode(rows, self.manifest.dtype, self.manifest.encoding)
        shard = self._room()
        start = shard.append(encoded.rows, encoded.scales)
        place = Place(
            shard=shard.stem.name,
            offset=start + prompt_rows,
            length=len(hidden_states),
            prompt_rows=prompt_rows,
            checksum=checksum(encoded.rows, encoded.scales),
            norm_mean=float(norms[prompt_rows:].mean()),
            norm_max=float(norms[prompt_rows:].max()),
            encoding_error=encoded.error,
        )
        self.bytes_written += encoded.nbytes
        self._write_line(row_of(entry, place))
        self._kept.add(entry.id)
        if shard.nbytes >= self.shard_bytes:
            self.close_shard()
        return place

    def exclude(self, identifier: str, status: Status, reason: str) -> None:
        """Record that a thought is not in the store, and why."""
        self._write_line({"id": identifier, "status": status, "reason": reason})

    def _check_shape(self, entry: Entry, rows: Tensor, length: int, prompt_rows: int) -> None:
        for name in ("id", "task", "plan", "task_id", "split", "task_type"):
            if lone_surrogate(getattr(entry, name)):
                raise MessageError(f"the {name} holds a lone surrogate, which no store can keep; correct or remove it")
        if entry.id in self._kept:
            raise MessageError(f"{entry.id} is in the store already; give every thought an id of its own")
        if not length or tuple(rows.shape[1:]) != self.manifest.row_shape:
            raise MessageError(
                f"{entry.id} has {length} rows of shape {list(rows.shape[1:])}, expected at least one of shape "
                f"{list(self.manifest.row_shape)}"
            )
        if bool(prompt_rows) != self.manifest.prompt_states:
            wanted = "with" if self.manifest.prompt_states else "without"
            raise MessageError(f"{entry.id} has {prompt_rows} prompt rows, but this store is {wanted} them")

    def _room(self) -> ShardWriter:
        if self._shard is None:
            numbers = [int(path.name.split("-")[1].split(".")[0]) for path in self._files(".*")]
            name = f"{self.rank:05d}-{max(numbers, default=-1) + 1:06d}"
            self._shard = ShardWriter(self._stem(name), self._form)
        return self._shard

    def close_shard(self) -> None:
        """Finish the current shard. The next thought starts a new one."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _write_line(self, record: dict[str, Any]) -> None:
        with storage_errors(Path(self._journal.name)):
            self._journal.write(utf8(json.dumps(record, ensure_ascii=False) + "\n"))
            self._journal.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        # The rows first: a line that is on disk must never be about rows that are not.
        if self._shard is not None:
            self._shard.sync()
        with storage_errors(Path(self._journal.name)):
            os.fsync(self._journal.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Close the writer. This or another writer can continue the store, or `finish` can make the index."""
        if self._journal.closed:
            return
        if self._shard is not None:
            self._shard.suspend()
            self._shard = None
        self._sync()
        self._journal.close()


def checksum(rows: Tensor, scales: Tensor | None) -> str:
    """xxh3-128 over the bytes of the stored states and then of their scales. It detects damage, not forgery."""
    digest = xxhash.xxh3_128(as_bytes(rows))
    if scales is not None:
        digest.update(as_bytes(scales))
    return str(digest.hexdigest())


def _check_values(rows: Tensor, norms: Tensor) -> None:
    # Finite norms mean finite rows, and they are needed anyway; counting is slow, and other layers have no norms.
    if rows.ndim > 2 or not norms.isfinite().all():
        broken = int((~rows.isfinite()).sum())
        if broken:
            raise MessageError(f"{broken} values are NaN or infinite")


def row_norms(hidden_states: Float[Tensor, "T *row_shape"]) -> Float[Tensor, "T"]:
    """Euclidean norm of each latent, in float32. If there are several layers, that of the first."""
    first = hidden_states if hidden_states.ndim == 2 else hidden_states[:, 0]
    return torch.linalg.vector_norm(first.detach().float(), dim=1)


def finish(directory: str | Path) -> None:
    """Close the shards of all writers and turn their journals into the index. A second call changes nothing.

    Raises:
        StorageError: a process is still writing, or the file system refused.
    """
    folder = Path(directory)
    manifest = read_manifest(folder)
    ranks = {int(path.stem) for path in journal_paths(folder)}
    with contextlib.ExitStack() as locked:
        for rank in sorted(ranks):
            writer = locked.enter_context(StoreWriter(folder, manifest, rank))
            writer.close_shard()
        contents = read_contents(folder)
        write_contents(folder, contents.rows, contents.excluded.values())
        remove_journals(folder)


@contextlib.contextmanager
def writing(directory: str | Path, manifest: Manifest, shard_bytes: int = SHARD_BYTES) -> Iterator[StoreWriter]:
    """A single writer for a ``with`` block. The store is finished if the block ends without an error."""
    with StoreWriter(directory, manifest, shard_bytes=shard_bytes) as writer:
        yield writer
    finish(directory)
