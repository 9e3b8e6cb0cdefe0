"""Damaged stores, sealed or not, give a store or an error of ours: no traceback, no wrong read."""

import json
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from interlat.errors import InterlatError
from interlat.store.index import EXCLUDED_FILE, INDEX_FILE, JOURNALS, SEAL_FILE, Entry
from interlat.store.manifest import MANIFEST_FILE, Manifest
from interlat.store.reading import LatentStore
from interlat.store.statistics import describe
from interlat.store.verify import StoreCheck, verify
from interlat.store.writer import StoreWriter, writing
from mutation.mutate import damage_bytes, damage_json

COUNT, SIZE = 6, 4


def rows_of(number: int) -> torch.Tensor:
    return torch.full((1 + number % 3, SIZE), float(number + 1))


def entry_of(number: int) -> Entry:
    tokens = tuple(range(1 + number % 3))
    return Entry(f"item/{number}", f"task {number}", "a plan", token_ids=tokens, metadata={"a": {"b": [1]}})


@pytest.fixture(scope="module", params=["plain", "int8"])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Manifest]:
    """A finished store and one that is still being written."""
    root = tmp_path_factory.mktemp("stores")
    manifest = Manifest(SIZE, encoding=request.param, weights_fingerprint="w" * 64, settings={"seed": 1})
    with writing(root / "finished", manifest) as writer:
        for number in range(COUNT):
            writer.append(entry_of(number), rows_of(number))
        writer.exclude("left", "failed", "too long")
    with StoreWriter(root / "growing", manifest) as writer:
        for number in range(COUNT):
            writer.append(entry_of(number), rows_of(number))
        writer.exclude("left", "filtered", "too short")
    return root / "finished", root / "growing", manifest


def damage_lines(path: Path, rng: random.Random) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    if lines:
        place = rng.randrange(len(lines))
        lines[place] = damage_json(lines[place], rng)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def damage_index(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    rows = pq.read_table(path).to_pylist()
    place = rng.randrange(len(rows))
    rows[place] = damage_json(rows[place], rng)
    try:
        pq.write_table(pa.Table.from_pylist([row for row in rows if isinstance(row, dict)]), path)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        path.write_bytes(damage_bytes(content, rng))  # no table can hold this value


def damage(folder: Path, rng: random.Random) -> bool:
    """Whether the damage is such that a reader must notice it: the seal and the checksums were left as they were."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    if path.name in (EXCLUDED_FILE,) or path.parent.name == JOURNALS:
        damage_lines(path, rng)
    elif path.name in (MANIFEST_FILE, SEAL_FILE) and rng.random() < 0.8:
        path.write_text(json.dumps(damage_json(json.loads(path.read_text()), rng)))
    elif path.name == INDEX_FILE and rng.random() < 0.8:
        damage_index(path, rng)
    elif rng.random() < 0.1:
        path.unlink()
    else:
        path.write_bytes(damage_bytes(path.read_bytes(), rng))
    unsealed = path.name == SEAL_FILE or rng.random() < 0.5
    if unsealed:
        (folder / SEAL_FILE).unlink(missing_ok=True)
    return not unsealed


def read_all(folder: Path) -> dict[str, tuple[Entry, list[float]]]:
    """Everything that a reader can ask for."""
    store = LatentStore.open(folder)
    describe(store)
    StoreCheck(store).lost_shards  # noqa: B018 (that it can be asked)
    whole = {verdict.id for verdict in verify(store) if not verdict.problem}
    found = {}
    for number, identifier in enumerate(store.ids):
        if identifier in whole:
            message = store.message(number)
            found[identifier] = (store.entry(number), message.hidden_states[:, 0].tolist())
    return found


def check(stores: tuple[Path, Path, Manifest], folder: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    finished, growing, manifest = stores
    for round_number in range(count):
        source = rng.choice([finished, growing])
        target = folder / str(round_number)
        shutil.copytree(source, target)
        must_notice = damage(target, rng) and source == finished
        try:
            found = read_all(target)
        except InterlatError as error:
            assert "\n" not in str(error)
        else:
            for number in range(COUNT if must_notice else 0):
                entry, first = found.get(f"item/{number}", (entry_of(number), rows_of(number)[:, 0].tolist()))
                assert (entry.plan, entry.token_ids, dict(entry.metadata)) == (
                    entry_of(number).plan,
                    entry_of(number).token_ids,
                    dict(entry_of(number).metadata),
                )
                assert first == pytest.approx(rows_of(number)[:, 0].tolist(), rel=0.01)
        try:
            with StoreWriter(target, manifest) as writer:
                writer.append(entry_of(99), rows_of(2))
        except InterlatError as error:
            assert "\n" not in str(error)
        shutil.rmtree(target)


def test_damaged_stores(stores: tuple[Path, Path, Manifest], tmp_path: Path) -> None:
    check(stores, tmp_path, 200, seed=21)


@pytest.mark.slow
def test_many_damaged_stores(stores: tuple[Path, Path, Manifest], tmp_path: Path) -> None:
    check(stores, tmp_path, 2_500, seed=22)


def test_whole_stores_are_read(stores: tuple[Path, Path, Manifest]) -> None:
    for folder in stores[:2]:
        assert len(read_all(folder)) == COUNT
