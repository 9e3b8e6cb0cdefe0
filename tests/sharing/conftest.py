"""One of each kind that can be shared: the bundled agent, the bridge of another one, and a small store."""

import shutil

import pytest
import torch

import interlat
from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.store.shard import HEADER_BYTES
from interlat.store.writer import writing

MODEL = "somebody/thing"


@pytest.fixture
def make_store(tmp_path):
    def make(count=12, name="store"):
        manifest = Manifest(hidden_size=8, model="scout", weights_fingerprint="w" * 64)
        with writing(tmp_path / name, manifest, HEADER_BYTES + 300) as writer:
            for number in range(count):
                rows = torch.randn(1 + number % 5, 8, generator=torch.Generator().manual_seed(number))
                writer.append(Entry(f"t{number}", f"task {number}", split="train", order=number), rows)
        return LatentStore.open(tmp_path / name).directory

    return make


@pytest.fixture
def make_agent(tmp_path):
    def make(name="latent", output=None):
        return shutil.copytree(interlat.bundled(f"alfworld-mini/{name}"), tmp_path / (output or name))

    return make


@pytest.fixture
def make_connector(tmp_path):
    def make(name="bridge-alone"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(f"{interlat.bundled('alfworld-mini/compressed')}/bridge.safetensors", folder)
        return folder

    return make


@pytest.fixture
def make(make_agent, make_connector, make_store):
    """Name of a kind -> a folder of that kind."""
    return {"agent": make_agent, "connector": make_connector, "store": make_store}


@pytest.fixture
def contents():
    """Folder -> path in it -> bytes, without the card."""

    def contents(folder):
        files = (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return contents
