"""The latent store against the published way: nested lists of float32 in a Hugging Face data set.

Each side runs in a process of its own (`benchmarks.store_play`) on the same content. The published way holds every
number as a Python object until all are written, so its peak memory grows with the data (22 GB for 500 thoughts); ours
is measured at two sizes.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import comparison
from interlat.errors import BenchmarkError

METRICS = {
    "write_seconds": ("s", "write"),
    "random_access_seconds": ("s", "access"),
    "bytes": ("bytes", "bytes"),
    "peak_memory": ("bytes", "memory"),
}
"""Metric -> its unit and what `benchmarks.store_play` calls it. Peak memory is that of the writing, above what the
process had before."""
READS = 20


@dataclass(frozen=True)
class Size:
    """How much is stored."""

    items: int
    length: int
    """Rows of a thought, on average."""
    hidden_size: int

    def __str__(self) -> str:
        return f"{self.items} x [~{self.length}, {self.hidden_size}]"


SIZES = {True: Size(80, 600, 896), False: Size(500, 800, 896)}
MORE = 4
"""How many times as many thoughts the second measurement of our memory has."""


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one record a metric, and one of our own peak memory with four times the items; smaller is always better.

    The reference of that last record is our own peak memory with the items of the other records.

    Raises:
        BenchmarkError: a side failed, or what was read is not what was written.
    """
    size = SIZES[quick]
    with tempfile.TemporaryDirectory() as folder:
        ours, published = (_play(kind, size, Path(folder) / kind) for kind in ("ours", "published"))
        for metric, (unit, name) in METRICS.items():
            yield comparison("store", str(size), metric, unit, ours[name], published[name], larger_is_better=False)
    larger = Size(size.items * MORE, size.length, size.hidden_size)
    with tempfile.TemporaryDirectory() as folder:
        more = _play("ours", larger, Path(folder) / "ours")
    case = f"{larger}, ours against ours at {size.items}"
    yield comparison("store", case, "peak_memory", "bytes", more["memory"], ours["memory"], larger_is_better=False)


def _play(kind: str, size: Size, folder: Path) -> dict[str, Any]:
    numbers = [str(number) for number in (size.items, size.length, size.hidden_size, READS)]
    result = run_side("benchmarks.store_play", [kind, str(folder), *numbers], f"the {kind} side")
    if not result["same"]:
        raise BenchmarkError(f"the {kind} side read other numbers than it wrote; report this")
    return result
