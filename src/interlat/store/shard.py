"""A shard: one safetensors file that grows by appending rows, and is mapped into memory for reading.

While it grows it has the ending ``.partial`` and an empty header; its scales are in a file beside it. The header is
written and the file takes its final name when the shard is closed. How many rows of an unclosed shard count is known
from the journal alone, so whatever a killed process wrote after that is cut off.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interlat.errors import StorageError
from interlat.files import storage_errors

# Room for the header of at most two tensors, so that the data begins at a fixed place and can be written first.
HEADER_BYTES = 4096
ENDING = ".safetensors"
PARTIAL = ".partial"
SCALES = ".scales"
CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
}
SCALE_BYTES = 4


@dataclass(frozen=True)
class ShardFormat:
    """What the rows of a shard look like."""

    dtype: torch.dtype
    row_shape: tuple[int, ...]
    scaled: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of one row without its scale."""
        return int(np.prod(self.row_shape)) * self.dtype.itemsize


def as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


class ShardWriter:
    """Appends rows to one shard.

    Args:
        stem: path without ending; ``stem.partial`` is written, ``stem.safetensors`` appears at the end.
        rows: how many rows of an existing partial file count, at most `rows_on_disk`; the rest is cut off.

    Raises:
        StorageError: the file system refused.
    """

    def __init__(self, stem: Path, form: ShardFormat, rows: int = 0) -> None:
        self.stem = stem
        self.form = form
        self.rows = rows
        self._partial = stem.with_name(stem.name + PARTIAL)
        self._scales = stem.with_name(stem.name + SCALES)
        with storage_errors(self._partial):
            stem.parent.mkdir(parents=True, exist_ok=True)
            self._data = self._open(self._partial, HEADER_BYTES + rows * form.row_bytes)
            self._scale_data = self._open(self._scales, rows * SCALE_BYTES) if form.scaled else None

    @staticmethod
    def _open(path: Path, size: int) -> BinaryIO:
        path.touch()
        handle = open(path, "r+b")  # noqa: SIM115 (kept open between appends)
        handle.truncate(size)
        handle.seek(size)
        return handle

    @property
    def nbytes(self) -> int:
        """Bytes written so far."""
        return HEADER_BYTES + self.rows * (self.form.row_bytes + (SCALE_BYTES if self.form.scaled else 0))

    def append(self, rows: Tensor, scales: Tensor | None) -> int:
        """Append contiguous rows; the offset of the first. They have left the process when this returns.

        Raises:
            StorageError: the file system refused.
        """
        offset = self.rows
        with storage_errors(self._partial):
            self._data.write(as_bytes(rows))
            self._data.flush()
            if self._scale_data is not None and scales is not None:
                self._scale_data.write(as_bytes(scales))
                self._scale_data.flush()
        self.rows += len(rows)
        return offset

    def sync(self) -> None:
        """Push what was appended to the disk."""
        with storage_errors(self._partial):
            for handle in (self._data, self._scale_data):
                if handle is not None:
                    os.fsync(handle.fileno())

    def close(self) -> None:
        """Write the header and give the file its name; a shard without rows vanishes."""
        with storage_errors(self._partial):
            if self.rows:
                if self._scale_data is not None:
                    self._scale_data.seek(0)
                    self._data.write(self._scale_data.read())
                self._data.seek(0)
                self._data.write(self._header())
                self._data.flush()
                os.fsync(self._data.fileno())
            self._release()
            if self.rows:
                os.replace(self._partial, self.stem.with_name(self.stem.name + ENDING))
            self._partial.unlink(missing_ok=True)
            self._scales.unlink(missing_ok=True)

    def suspend(self) -> None:
        """Leave the shard unclosed, as a killed process would; a later writer goes on with it."""
        with storage_errors(self._partial):
            self.sync()
            self._release()

    def _release(self) -> None:
        self._data.close()
        if self._scale_data is not None:
            self._scale_data.close()

    def _header(self) -> bytes:
        end = self.rows * self.form.row_bytes
        header: dict[str, object] = {
            "__metadata__": {"format": "interlat-shard"},
            "rows": {
                "dtype": CODES[self.form.dtype],
                "shape": [self.rows, *self.form.row_shape],
                "data_offsets": [0, end],
            },
        }
        if self.form.scaled:
            scales = {"dtype": "F32", "shape": [self.rows], "data_offsets": [end, end + self.rows * SCALE_BYTES]}
            header["scales"] = scales
        room = HEADER_BYTES - 8
        return room.to_bytes(8, "little") + json.dumps(header).encode().ljust(room)


@dataclass(frozen=True, eq=False)
class ShardRows:
    """The rows of a shard, mapped into memory: nothing is read before it is used."""

    rows: Tensor
    """``[N, *row_shape]`` in the stored dtype; never write into it."""
    scales: Tensor | None
    """``[N]`` or None."""


def open_shard(stem: Path, form: ShardFormat) -> ShardRows:
    """Map a shard, closed or not.

    Raises:
        StorageError: no such shard, or its header does not say what the store says.
    """
    closed, partial = (stem.with_name(stem.name + ending) for ending in (ENDING, PARTIAL))
    if not closed.is_file():
        if not partial.is_file():
            raise StorageError(f"shard {closed} is missing; copy it again or collect the store again")
        return _open_partial(stem, form)
    try:
        with safe_open(closed, framework="pt", device="cpu") as file:
            names = set(file.keys())
            rows = file.get_tensor("rows")
            scales = file.get_tensor("scales") if form.scaled else None
    except (SafetensorError, OSError) as error:
        raise StorageError(f"shard {closed} is damaged ({error}); copy it again or collect the store again") from error
    expected = {"rows", "scales"} if form.scaled else {"rows"}
    if names != expected or rows.dtype != form.dtype or tuple(rows.shape[1:]) != form.row_shape:
        raise StorageError(
            f"shard {closed} holds {sorted(names)} of {rows.dtype} {list(rows.shape[1:])}, expected {sorted(expected)} "
            f"of {form.dtype} {list(form.row_shape)}; it belongs to another store"
        )
    return ShardRows(rows, scales)


def rows_on_disk(stem: Path, form: ShardFormat) -> int:
    """Whole rows of a partial shard."""
    data, scales = (stem.with_name(stem.name + ending) for ending in (PARTIAL, SCALES))
    count = max(0, data.stat().st_size - HEADER_BYTES) // form.row_bytes
    if form.scaled:
        count = min(count, scales.stat().st_size // SCALE_BYTES if scales.exists() else 0)
    return count


def _open_partial(stem: Path, form: ShardFormat) -> ShardRows:
    count = rows_on_disk(stem, form)
    if not count:
        return ShardRows(torch.empty(0, *form.row_shape, dtype=form.dtype), torch.empty(0) if form.scaled else None)
    # Copy on write: torch wants writable memory, and the file is never changed through it.
    data = np.memmap(
        stem.with_name(stem.name + PARTIAL),
        dtype=np.uint8,
        mode="c",
        offset=HEADER_BYTES,
        shape=(count * form.row_bytes,),
    )
    rows = torch.from_numpy(data).view(form.dtype).reshape(count, *form.row_shape)
    if not form.scaled:
        return ShardRows(rows, None)
    scales = np.fromfile(stem.with_name(stem.name + SCALES), dtype=np.float32, count=count)
    return ShardRows(rows, torch.from_numpy(scales))
