import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from interlat.errors import MessageError, StorageError
from interlat.store.index import JOURNALS, SHARDS
from interlat.store.manifest import KeptLayer
from interlat.store.reading import LatentStore
from interlat.store.verify import StoreCheck
from interlat.store.writer import StoreWriter, finish, row_norms, writing


def check(store, rows_of, numbers, tolerance=0.0):
    assert store.ids == [f"item/{number}" for number in numbers]
    for number in numbers:
        rows = store.hidden_states(f"item/{number}")
        assert torch.allclose(rows, rows_of(number).to(rows.dtype), atol=tolerance, rtol=tolerance)
        stored = store.table.column("checksum")[store.ids.index(f"item/{number}")].as_py()
        assert store.stored_checksum(f"item/{number}") == stored


@pytest.mark.parametrize("encoding, tolerance", [("plain", 0.0), ("int8", 0.02), ("float8", 0.07)])
def test_what_was_appended_is_read_back(make_store, manifest, rows_of, encoding, tolerance):
    store = make_store(20, manifest=dataclasses.replace(manifest, encoding=encoding), shard_bytes=4096 + 300)
    check(store, rows_of, range(20), tolerance)
    assert not store.unfinished and not (store.directory / JOURNALS).exists()
    names = sorted(path.name for path in (store.directory / SHARDS).iterdir())
    assert len(names) > 1 and all(name.endswith(".safetensors") for name in names)


def test_several_ranks_fill_one_store(tmp_path, manifest, rows_of, entry_of):
    writers = [StoreWriter(tmp_path, manifest, rank) for rank in range(3)]
    for number in range(12):
        writers[number % 3].append(entry_of(number), rows_of(number))
    for writer in writers:
        writer.close()
    assert LatentStore.open(tmp_path).unfinished
    check(LatentStore.open(tmp_path), rows_of, range(12))
    finish(tmp_path)
    finish(tmp_path)
    check(LatentStore.open(tmp_path), rows_of, range(12))


def test_a_finished_store_can_be_added_to(tmp_path, manifest, rows_of, entry_of, make_store):
    store = make_store(5)
    with writing(store.directory, manifest) as writer:
        for number in range(5, 9):
            writer.append(entry_of(number), rows_of(number))
        with pytest.raises(MessageError, match="in the store already"):
            writer.append(entry_of(3), rows_of(3))
    check(LatentStore.open(store.directory), rows_of, range(9))


def test_two_processes_of_one_rank_are_refused(tmp_path, manifest):
    with StoreWriter(tmp_path, manifest), pytest.raises(StorageError, match="another process writes"):
        StoreWriter(tmp_path, manifest)
    StoreWriter(tmp_path, manifest).close()


def test_a_store_that_somebody_writes_to_cannot_be_finished(tmp_path, manifest):
    with StoreWriter(tmp_path, manifest, rank=1), pytest.raises(StorageError, match="as rank 1"):
        finish(tmp_path)


def test_other_settings_are_refused_and_nothing_is_lost(make_store, manifest, rows_of):
    store = make_store(4)
    with pytest.raises(StorageError, match=r"another state_at, settings\.seed"):
        StoreWriter(store.directory, dataclasses.replace(manifest, state_at="after_token", settings={"seed": 1}))
    check(LatentStore.open(store.directory), rows_of, range(4))


@pytest.mark.parametrize(
    "rows, words",
    [
        (torch.zeros(0, 8), "has 0 rows"),
        (torch.zeros(2, 9), r"rows of shape \[9\]"),
        (torch.full((2, 8), float("nan")), "16 values are NaN"),
        (torch.tensor([[1.0] * 7 + [float("inf")]]), "1 values are NaN"),
    ],
)
def test_bad_rows_are_refused_and_the_writer_goes_on(tmp_path, manifest, entry_of, rows_of, rows, words):
    with writing(tmp_path, manifest) as writer:
        writer.append(entry_of(0), rows_of(0))
        with pytest.raises(MessageError, match=words):
            writer.append(entry_of(1), rows)
        writer.exclude("item/1", "failed", "as it had to be")
        writer.append(entry_of(2), rows_of(2))
    store = LatentStore.open(tmp_path)
    check(store, rows_of, [0, 2])
    assert store.excluded["item/1"].reason == "as it had to be"


def test_prompt_states_stand_before_the_rows(tmp_path, manifest, entry_of, rows_of):
    with writing(tmp_path, dataclasses.replace(manifest, prompt_states=True)) as writer:
        for number in range(6):
            writer.append(entry_of(number), rows_of(number), rows_of(number + 100))
        with pytest.raises(MessageError, match="with them"):
            writer.append(entry_of(6), rows_of(6))
    store = LatentStore.open(tmp_path)
    check(store, rows_of, range(6))
    for number in range(6):
        assert torch.equal(store.prompt_states(number), rows_of(number + 100))


def test_several_layers_stand_side_by_side(tmp_path, manifest, entry_of):
    both = dataclasses.replace(manifest, layers=(KeptLayer(-1, "post"), KeptLayer(-2, "pre")))
    rows = torch.randn(5, 2, 8)
    with writing(tmp_path, both) as writer:
        place = writer.append(entry_of(0), rows)
    assert place.norm_mean == pytest.approx(float(rows[:, 0].norm(dim=-1).mean()), rel=1e-6)
    assert torch.equal(LatentStore.open(tmp_path)[0].hidden_states, rows)


def test_norms_are_those_of_the_rows():
    assert row_norms(torch.tensor([[3.0, 4.0], [0.0, 2.0]])).tolist() == [5.0, 2.0]


APPENDER = """
import sys, time, torch
from interlat.store.index import Entry
from interlat.store.manifest import Manifest
from interlat.store.writer import StoreWriter
manifest = Manifest(hidden_size=8, encoding=sys.argv[2])
writer = StoreWriter(sys.argv[1], manifest, shard_bytes=4096 + 4000)
done = writer.contents().ids
for number in range(100000):
    if f"item/{number}" not in done:
        writer.append(Entry(f"item/{number}", order=number), torch.full((1 + number % 7, 8), number + 1.0))
        print(number, flush=True)
"""


@pytest.mark.parametrize("encoding", ["plain", "int8"])
def test_kill_9_at_any_instant_loses_and_doubles_nothing(tmp_path, encoding):
    """A process is killed while it appends; whatever it had announced is there, and the next one goes on."""
    announced = -1
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(tmp_path / "store"), encoding],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        first = process.stdout.readline()
        assert int(first) in (announced + 1, announced + 2), "a thought that was on disk may not have been announced"
        time.sleep(0.05 + 0.07 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        announced = int((first + process.stdout.read()).splitlines()[-1])
        process.wait()
        store = LatentStore.open(tmp_path / "store")
        assert store.ids == [f"item/{number}" for number in range(len(store))]
        assert len(store) in (announced + 1, announced + 2)
        for number in range(len(store)):
            rows = store.hidden_states(number)
            assert torch.allclose(rows, torch.full((1 + number % 7, 8), number + 1.0), rtol=1e-6)
    finish(tmp_path / "store")
    assert LatentStore.open(tmp_path / "store").ids == store.ids


def test_lines_about_rows_that_never_reached_the_disk_are_dropped(tmp_path, manifest, entry_of, rows_of):
    """After a power cut the journal may be ahead of the shard: such thoughts are made again."""
    with StoreWriter(tmp_path, manifest) as writer:
        for number in range(6):
            writer.append(entry_of(number), rows_of(number))
    partial = next((tmp_path / SHARDS).glob("*.partial"))
    with open(partial, "r+b") as handle:
        handle.truncate(partial.stat().st_size - 33)
    with writing(tmp_path, manifest) as writer:
        assert "item/5" not in writer.contents().ids
        writer.append(entry_of(5), rows_of(5))
    check(LatentStore.open(tmp_path), rows_of, range(6))


def test_rows_that_were_written_and_never_announced_are_cut_off(tmp_path, manifest, entry_of, rows_of):
    """A process killed between the rows and their line in the journal leaves no row that belongs to nobody."""
    with StoreWriter(tmp_path, manifest) as writer:
        end = writer.append(entry_of(0), rows_of(0))
    partial = next((tmp_path / SHARDS).glob("*.partial"))
    with open(partial, "ab") as handle:
        handle.write(bytes(3 * 8 * 4))
    with writing(tmp_path, manifest) as writer:
        assert writer.append(entry_of(1), rows_of(1)).offset == end.offset + end.length
    store = LatentStore.open(tmp_path)
    check(store, rows_of, range(2))
    assert StoreCheck(store).unclaimed_rows == {}


def test_a_journal_with_a_torn_line_is_continued(tmp_path, manifest, entry_of, rows_of):
    with StoreWriter(tmp_path, manifest) as writer:
        writer.append(entry_of(0), rows_of(0))
    journal = tmp_path / JOURNALS / "00000.jsonl"
    with open(journal, "a") as handle:
        handle.write('{"id": "item/1", "pla')
    with writing(tmp_path, manifest) as writer:
        writer.append(entry_of(1), rows_of(1))
        lines = journal.read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == ["item/0", "item/1"]
    check(LatentStore.open(tmp_path), rows_of, range(2))


def test_text_that_is_no_unicode_is_refused_and_can_be_left_out(tmp_path, manifest, rows_of, entry_of):
    with writing(tmp_path, manifest) as writer:
        for changes in ({"plan": "bad \ud83d"}, {"id": "\ud800"}):
            with pytest.raises(MessageError, match="lone surrogate"):
                writer.append(dataclasses.replace(entry_of(1), **changes), rows_of(1))
        writer.exclude("a\ud800", "failed", "bad \ud83d")
        writer.append(entry_of(2), rows_of(2))
    store = LatentStore.open(tmp_path)
    assert store.ids == ["item/2"] and store.excluded["a\ud800"].reason == "bad \ud83d"
