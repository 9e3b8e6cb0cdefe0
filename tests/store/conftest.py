"""Small stores of random thoughts."""

import pytest
import torch

from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.store.writer import writing

SIZE = 8


def random_rows(number, size=SIZE, dtype=torch.float32):
    """The rows of thought ``number``: of its own length, the same every time."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(1 + number % 7, size, generator=generator).to(dtype)


def some_entry(number):
    return Entry(
        id=f"item/{number}",
        task=f"task {number}",
        plan=f"plan {number}\nwith two lines",
        task_id=f"task/{number // 2}",
        sample=number % 2,
        split="train" if number % 3 else "test",
        task_type=("clean", "heat", "cool")[number % 3],
        finished=bool(number % 5),
        token_ids=tuple(range(1 + number % 7)),
        order=number,
        metadata={"level": number, "note": "é"},
    )


@pytest.fixture(scope="session")
def rows_of():
    """number -> the rows of that thought."""
    return random_rows


@pytest.fixture(scope="session")
def entry_of():
    """number -> what that thought is about."""
    return some_entry


@pytest.fixture
def manifest():
    return Manifest(hidden_size=SIZE, model="scout", weights_fingerprint="w" * 64, tokenizer_fingerprint="t" * 64)


@pytest.fixture
def make_store(tmp_path, manifest):
    def make(count=10, name="store", manifest=manifest, shard_bytes=2**20):
        with writing(tmp_path / name, manifest, shard_bytes) as writer:
            for number in range(count):
                writer.append(some_entry(number), random_rows(number))
        return LatentStore.open(tmp_path / name)

    return make
