import pytest
import torch

from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.writer import writing

MANIFEST = Manifest(
    hidden_size=8,
    model="some/model",
    weights_fingerprint="0123456789abcdef",
    settings={"prompt_template": "line\n" * 200, "sampling": {"temperature": 0.7}, "seed": 3, "empty": ""},
)


@pytest.fixture
def make_store(tmp_path):
    def make(name="store", first=0, count=12):
        with writing(tmp_path / name, MANIFEST) as writer:
            for number in range(first, first + count):
                split, kind = ("test", "heat") if number % 3 else ("train", "clean")
                entry = Entry(f"t{number}", f"task {number}", split=split, task_type=kind, order=number)
                rows = torch.randn(1 + number % 5, 8, generator=torch.Generator().manual_seed(number))
                writer.append(entry, rows)
            writer.exclude("bad", "failed", "NaN")
        return str(tmp_path / name)

    return make
