import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from interlat.errors import StorageError
from interlat.store.index import INDEX_FILE, SCHEMA, SHARDS, write_seal
from interlat.store.reading import LatentStore
from interlat.store.shard import HEADER_BYTES
from interlat.store.verify import StoreCheck, verify
from interlat.store.writer import StoreWriter, writing

SMALL = HEADER_BYTES + 300


def bad(store):
    """id -> problem of everything that is wrong."""
    return {verdict.id: verdict.problem for verdict in verify(store.directory) if verdict.problem}


def change_index(store, change):
    """Write the index again with changed lines."""
    rows = change(store.table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), store.directory / INDEX_FILE)
    write_seal(store.directory, len(rows))


@pytest.mark.parametrize("encoding", ["plain", "int8", "float8"])
def test_a_good_store_is_good(make_store, manifest, encoding):
    store = make_store(20, manifest=dataclasses.replace(manifest, encoding=encoding), shard_bytes=SMALL)
    assert [verdict.id for verdict in verify(store)] == store.ids
    assert bad(store) == {} and StoreCheck(store).unclaimed_rows == {}


@pytest.mark.parametrize("encoding", ["plain", "int8"])
@pytest.mark.parametrize("number", [0, 7, 19])
def test_a_flipped_byte_names_exactly_its_thought(make_store, manifest, encoding, number):
    store = make_store(20, manifest=dataclasses.replace(manifest, encoding=encoding))
    row = store.table.to_pylist()[number]
    path = store.directory / SHARDS / f"{row['shard']}.safetensors"
    data = bytearray(path.read_bytes())
    row_bytes = 8 * (4 if encoding == "plain" else 1)
    data[HEADER_BYTES + (row["offset"] + row["length"]) * row_bytes - 1] ^= 1
    path.write_bytes(data)
    assert bad(store) == {row["id"]: "its bytes are not those that were written (wrong checksum)"}


def test_a_flipped_scale_names_exactly_its_thought(make_store, manifest):
    store = make_store(20, manifest=dataclasses.replace(manifest, encoding="int8"))
    (path,) = (store.directory / SHARDS).iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert list(bad(store)) == ["item/19"]


def test_a_truncated_shard_names_the_thoughts_in_it(make_store):
    store = make_store(20, shard_bytes=SMALL)
    shards = store.table.column("shard").to_pylist()
    path = store.directory / SHARDS / f"{shards[8]}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    problems = bad(store)
    assert list(problems) == [key for key, shard in zip(store.ids, shards, strict=True) if shard == shards[8]]
    assert all("damaged" in problem for problem in problems.values())
    assert StoreCheck(store).unclaimed_rows == {}


def test_a_missing_shard_names_the_thoughts_in_it(make_store):
    store = make_store(20, shard_bytes=SMALL)
    shards = store.table.column("shard").to_pylist()
    (store.directory / SHARDS / f"{shards[0]}.safetensors").unlink()
    problems = bad(store)
    assert list(problems) == [key for key, shard in zip(store.ids, shards, strict=True) if shard == shards[0]]
    assert all("missing" in problem for problem in problems.values())


def test_values_that_are_not_finite_are_named(make_store, manifest, entry_of, monkeypatch):
    store = make_store(2)
    monkeypatch.setattr("interlat.store.writer._check_values", lambda *_: None)
    with writing(store.directory, manifest) as writer:
        writer.append(entry_of(7), torch.full((1, 8), torch.nan))
    assert bad(store) == {"item/7": "it holds NaN or infinite values"}


def test_prompt_rows_are_checked_too(tmp_path, manifest, rows_of, entry_of, monkeypatch):
    with writing(tmp_path, dataclasses.replace(manifest, prompt_states=True)) as writer:
        for number in (1, 2):
            writer.append(entry_of(number), rows_of(number), rows_of(5))
        monkeypatch.setattr("interlat.store.writer._check_values", lambda *_: None)
        writer.append(entry_of(3), rows_of(3), torch.full((1, 8), torch.inf))
    store = LatentStore.open(tmp_path)
    assert bad(store) == {"item/3": "it holds NaN or infinite values"}
    (path,) = (tmp_path / SHARDS).iterdir()
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES] ^= 1
    path.write_bytes(data)
    assert list(bad(store)) == ["item/1", "item/3"]
    assert StoreCheck(store).unclaimed_rows == {}


def test_a_duplicated_line_is_named(make_store):
    store = make_store(6)
    change_index(store, lambda rows: [*rows, rows[2]])
    assert bad(store) == {"item/2": "the index names it more than once"}


def test_overlapping_thoughts_are_named_after_the_first(make_store):
    store = make_store(6)

    def overlap(rows):
        rows[3]["offset"] -= 1
        return rows

    change_index(store, overlap)
    problems = bad(store)
    assert list(problems) == ["item/3"] and "overlap with those of item/2" in problems["item/3"]
    assert StoreCheck(LatentStore.open(store.directory)).unclaimed_rows == {"00000-000000": 1}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"length": 999, "token_ids": []}, "ends at"),
        ({"offset": -3}, "which no shard can hold"),
        ({"length": 0}, "which no shard can hold"),
        ({"prompt_rows": 1}, "does not keep them"),
        ({"token_ids": [1, 2, 3]}, "2 rows but 3 token ids"),
        ({"shard": "00000-000009"}, "missing"),
        ({"checksum": "0" * 32}, "wrong checksum"),
    ],
)
def test_a_wrong_line_is_named_and_the_rest_is_checked(make_store, changes, problem):
    store = make_store(9)

    def change(rows):
        rows[8].update(changes)
        return rows

    change_index(store, change)
    problems = bad(store)
    assert list(problems) == ["item/8"] and problem in problems["item/8"]


def test_thoughts_without_token_ids_are_good(make_store):
    store = make_store(4)
    change_index(store, lambda rows: [{**row, "token_ids": []} for row in rows])
    assert bad(store) == {}


def test_rows_of_nobody_are_no_error(make_store):
    store = make_store(20, shard_bytes=SMALL)
    shards = store.table.column("shard").to_pylist()
    change_index(store, lambda rows: [row for row in rows if row["id"] != "item/6" and row["shard"] != shards[-1]])
    store = LatentStore.open(store.directory)
    assert bad(store) == {}
    unclaimed = StoreCheck(store).unclaimed_rows
    assert unclaimed.pop(shards[6]) == 7
    assert list(unclaimed) == [shards[-1]]


def test_an_unfinished_store_can_be_checked(tmp_path, manifest, rows_of, entry_of):
    with StoreWriter(tmp_path, manifest) as writer:
        for number in range(3):
            writer.append(entry_of(number), rows_of(number))
        assert [(verdict.id, verdict.problem) for verdict in verify(tmp_path)] == [
            (f"item/{number}", "") for number in range(3)
        ]
        assert StoreCheck(LatentStore.open(tmp_path)).unclaimed_rows == {}


def test_an_empty_store_is_good_and_no_store_an_error(make_store, tmp_path):
    store = make_store(0)
    assert list(verify(store)) == [] and StoreCheck(store).unclaimed_rows == {}
    with pytest.raises(StorageError, match="no latent store"):
        list(verify(tmp_path / "nothing"))
