"""Writes and reads thoughts in this process and prints what that took: `python -m benchmarks store` runs it.

``python -m benchmarks.store_play ours|published FOLDER ITEMS LENGTH SIZE READS``. Both sides store the same
numbers; making them is not timed.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.processes import die_first, forget_peak_memory, memory_since, peak_memory


def thoughts(items: int, length: int, size: int) -> Iterator[Tensor]:
    """Thoughts of about ``length`` rows in bfloat16, different in every item."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(length + length // 4 + items % 97 + 97, size, generator=generator).bfloat16()
    for number in range(items):
        count = length - length // 4 + (number * 7919) % (length // 2 + 1)
        yield pool[number % 97 : number % 97 + count]


def play(kind: str, folder: str, items: int, length: int, size: int, reads: int) -> dict[str, Any]:
    """Seconds of writing all items, mean seconds of reading one, bytes on disk, peak memory of the writing."""
    target = Path(folder)
    write, open_reader = (_write_store, _read_store) if kind == "ours" else (_write_lists, _read_lists)
    # What is loaded and set up at the first use counts for neither side.
    with tempfile.TemporaryDirectory() as warm:
        write(Path(warm) / "thoughts", 2, 8, size)
    baseline = _memory_before()
    seconds = write(target, items, length, size)
    memory = memory_since(baseline)
    read = open_reader(target)
    chosen = random.Random(1).sample(range(items), min(reads, items))
    began = time.perf_counter()
    found = [read(number) for number in chosen]
    access = (time.perf_counter() - began) / len(chosen)
    expected = list(thoughts(items, length, size))
    same = all(torch.equal(rows.float(), expected[number].float()) for number, rows in zip(chosen, found, strict=True))
    return {
        "write": seconds,
        "access": access,
        "bytes": sum(path.stat().st_size for path in target.rglob("*") if path.is_file()),
        "memory": memory,
        "same": same,
    }


def _memory_before() -> int:
    forget_peak_memory()
    return peak_memory()


def _write_store(target: Path, items: int, length: int, size: int) -> float:
    from interlat.store.index import Entry
    from interlat.store.manifest import Manifest
    from interlat.store.writer import writing

    began, making = time.perf_counter(), 0.0
    with writing(target, Manifest(hidden_size=size, dtype="bfloat16")) as writer:
        source = thoughts(items, length, size)
        for number in range(items):
            paused = time.perf_counter()
            rows = next(source)
            making += time.perf_counter() - paused
            writer.append(Entry(f"item {number}", "a task", "a plan", order=number), rows)
    return time.perf_counter() - began - making


def _read_store(target: Path) -> Callable[[int], Tensor]:
    from interlat.store.reading import LatentStore

    return LatentStore.open(target).hidden_states


def _write_lists(target: Path, items: int, length: int, size: int) -> float:
    from datasets import Dataset, Features, List, Value

    die_first()
    features = Features(
        {
            "task": Value("string"),
            "task_id": Value("string"),
            "plan": Value("string"),
            "hidden_state": List(List(Value("float32"))),
        }
    )
    began, making = time.perf_counter(), 0.0
    columns: dict[str, list[Any]] = {name: [] for name in features}
    source = thoughts(items, length, size)
    for number in range(items):
        paused = time.perf_counter()
        rows = next(source)
        making += time.perf_counter() - paused
        row = ("a task", f"item {number}", "a plan", rows.float().numpy().tolist())
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    Dataset.from_dict(columns, features=features).save_to_disk(str(target))
    return time.perf_counter() - began - making


def _read_lists(target: Path) -> Callable[[int], Tensor]:
    from datasets import load_from_disk

    stored = load_from_disk(str(target))
    return lambda number: torch.tensor(stored[number]["hidden_state"])


if __name__ == "__main__":
    kind, folder, *numbers = sys.argv[1:]
    print(json.dumps(play(kind, folder, *map(int, numbers))))
