"""Reads a store: random access to thoughts by number or id. Only the requested thoughts are loaded."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError, MessageError, StorageError
from interlat.messages import Header, HiddenMessage
from interlat.store.encoding import decode
from interlat.store.index import SHARD_NAME, SHARDS, Entry, Excluded, check_seal, entry_of, journal_paths, read_contents
from interlat.store.manifest import Manifest, read_manifest
from interlat.store.shard import ShardRows, open_shard
from interlat.store.writer import checksum, shard_format


@dataclasses.dataclass(frozen=True, eq=False)
class Thought:
    """One thought: its index entry and its hidden states."""

    entry: Entry
    hidden_states: Float[Tensor, "T *row_shape"]
    """``[T, D]``, or ``[T, layers, D]`` for several layers. A copy of the stored states."""


class LatentStore(Sequence[Thought]):
    """The thoughts of a store, in the order of the data set that they were collected from.

    It can also open a store that is still being written, and then shows the thoughts that are finished so far. The
    states are memory-mapped: opening a store reads only the index, and a thought only its own states.
    """

    def __init__(
        self, directory: Path, manifest: Manifest, table: pa.Table, excluded: dict[str, Excluded], unfinished: bool
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.table = table
        """The index, one line for each thought; see `interlat.store.index.SCHEMA`."""
        self.excluded = excluded
        """Thoughts that failed or were filtered out, by id."""
        self.unfinished = unfinished
        """Whether a process is still writing, or was killed before it finished."""
        shards = table.column("shard").combine_chunks().dictionary_encode()
        self._shard_names: list[str] = shards.dictionary.to_pylist()
        for name in self._shard_names:
            # A store may come from elsewhere, and a name becomes a path.
            if not re.fullmatch(SHARD_NAME, name):
                raise StorageError(f"the index of {directory} names a shard {name!r}, expected one like 00000-000000")
        self._shard_of = _numbers(shards.indices)
        self._offsets = _numbers(table.column("offset"))
        self._lengths = _numbers(table.column("length"))
        self._prompt_rows = _numbers(table.column("prompt_rows"))
        self._open: dict[int, ShardRows] = {}

    @classmethod
    def open(cls, directory: str | Path) -> "LatentStore":
        """Open the store in a folder.

        Raises:
            StorageError: there is no store, or its manifest or index is damaged.
        """
        folder = Path(directory).expanduser()
        manifest = read_manifest(folder)
        contents = read_contents(folder)
        check_seal(folder, len(contents.rows))
        return cls(folder, manifest, contents.rows, contents.excluded, bool(journal_paths(folder)))

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[Thought]:
        return (self._thought(number) for number in range(len(self)))

    @overload
    def __getitem__(self, key: int) -> Thought: ...
    @overload
    def __getitem__(self, key: str) -> Thought: ...
    @overload
    def __getitem__(self, key: slice) -> "LatentStore": ...
    def __getitem__(self, key: int | str | slice) -> "Thought | LatentStore":
        """A thought by number or id, or the part of the store in a slice."""
        if isinstance(key, slice):
            return self.select(range(len(self))[key])
        return self._thought(self._number(key))

    def _thought(self, number: int) -> Thought:
        return Thought(self.entry(number), self.hidden_states(number))

    def _number(self, key: int | str) -> int:
        if isinstance(key, str):
            if key not in self._number_of:
                raise InputError(f"no thought {key!r} in {self.directory}; see `interlat store info`")
            return self._number_of[key]
        if not -len(self) <= key < len(self):
            raise IndexError(f"thought {key} of {len(self)}")
        return key % len(self)

    @functools.cached_property
    def _number_of(self) -> dict[str, int]:
        return {identifier: number for number, identifier in enumerate(self.ids)}

    @functools.cached_property
    def ids(self) -> list[str]:
        """All ids, in order."""
        ids: list[str] = self.table.column("id").to_pylist()
        return ids

    @property
    def lengths(self) -> list[int]:
        """Number of latents of every thought."""
        lengths: list[int] = self._lengths.tolist()
        return lengths

    def length(self, key: int | str) -> int:
        """Number of latents of a thought."""
        return int(self._lengths[self._number(key)])

    def entry(self, key: int | str) -> Entry:
        """The index entry of a thought, without its hidden states."""
        return entry_of(self.table.slice(self._number(key), 1).to_pylist()[0])

    def hidden_states(self, key: int | str) -> Float[Tensor, "T *row_shape"]:
        """A copy of the hidden states of a thought, in `Manifest.dtype`."""
        number = self._number(key)
        start = self._offsets[number]
        return self._decoded(number, start, start + self._lengths[number])

    def prompt_states(self, key: int | str) -> Float[Tensor, "P *row_shape"]:
        """The hidden states of a thought's prompt.

        Raises:
            InputError: this store keeps no prompt states.
        """
        if not self.manifest.prompt_states:
            raise InputError(f"{self.directory} keeps no prompt states; collect it with prompt_states")
        number = self._number(key)
        end = self._offsets[number]
        return self._decoded(number, end - self._prompt_rows[number], end)

    def header(self) -> Header:
        """The header of the longest message in the store. If `AdapterConfig.check` accepts it, it accepts them all.

        Raises:
            MessageError: the store keeps several layers, but a message has one.
        """
        manifest = self.manifest
        if len(manifest.layers) != 1:
            raise MessageError(f"{self.directory} keeps {len(manifest.layers)} layers, but a message has one")
        return Header(
            model=manifest.model,
            revision=manifest.revision,
            weights_fingerprint=manifest.weights_fingerprint,
            tokenizer_fingerprint=manifest.tokenizer_fingerprint,
            layer=manifest.layers[0].layer,
            norm=manifest.layers[0].norm,
            state_at=manifest.state_at,
            shape=(int(self._lengths.max(initial=0)), manifest.hidden_size),
        )

    def message(self, key: int | str) -> HiddenMessage:
        """A thought as the message that its sender would send. Raises the errors of `header`."""
        header, entry = self.header(), self.entry(key)
        provenance = {"store": str(self.directory), "id": entry.id, "task": entry.task}
        header = dataclasses.replace(header, provenance=provenance)
        return HiddenMessage(self.hidden_states(key), entry.plan, entry.token_ids, header)

    def select(self, numbers: Sequence[int]) -> "LatentStore":
        """The part of the store with the given thoughts. Nothing is copied."""
        table = self.table.take(pa.array(list(numbers), type=pa.int64()))
        return LatentStore(self.directory, self.manifest, table, self.excluded, self.unfinished)

    def split(self, name: str) -> "LatentStore":
        """The thoughts of one split.

        Raises:
            InputError: no thought belongs to it. The error lists the splits.
        """
        splits: list[str] = self.table.column("split").to_pylist()
        numbers = [number for number, split in enumerate(splits) if split == name]
        if not numbers:
            known = ", ".join(sorted({repr(split) for split in splits}))
            raise InputError(f"{self.directory} has no split {name!r}; it has {known or 'nothing'}")
        return self.select(numbers)

    def stored_checksum(self, key: int | str) -> str:
        """The checksum of a thought's bytes that are on disk now."""
        number = self._number(key)
        start, end = self._offsets[number] - self._prompt_rows[number], self._offsets[number] + self._lengths[number]
        rows, scales = self._span(number, start, end)
        return checksum(rows.contiguous(), scales)

    def _decoded(self, number: int, start: int, end: int) -> Tensor:
        rows, scales = self._span(number, start, end)
        return decode(rows, scales, self.manifest.dtype)

    def _span(self, number: int, start: int, end: int) -> tuple[Tensor, Tensor | None]:
        shard = self._shard(int(self._shard_of[number]))
        if not 0 <= start <= end <= len(shard.rows):
            name = self._shard_names[self._shard_of[number]]
            raise StorageError(
                f"shard {name} of {self.directory} has {len(shard.rows)} rows, but {self.ids[number]} ends at {end}, "
                f"from {start} on; copy it again or collect the store again"
            )
        return shard.rows[start:end], None if shard.scales is None else shard.scales[start:end]

    def _shard(self, index: int) -> ShardRows:
        if index not in self._open:
            stem = self.directory / SHARDS / self._shard_names[index]
            self._open[index] = open_shard(stem, shard_format(self.manifest))
        return self._open[index]

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes of a data loader map the shards themselves.
        return {**self.__dict__, "_open": {}}


def _numbers(column: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(column, dtype=np.int64)
