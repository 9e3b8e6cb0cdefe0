import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interlat.errors import StorageError
from interlat.store.index import (
    EXCLUDED_FILE,
    INDEX_FILE,
    JOURNALS,
    SCHEMA,
    SEAL_FILE,
    Entry,
    Excluded,
    Place,
    entry_of,
    read_contents,
    remove_journals,
    row_of,
    table_of,
    write_contents,
)
from interlat.store.manifest import MANIFEST_FILE
from interlat.store.reading import LatentStore
from interlat.store.splits import assign_splits
from interlat.store.verify import StoreCheck, verify
from interlat.store.writer import StoreWriter, writing

PLACE = Place("00000-000000", 3, 2, 0, "abc", 1.5, 2.0, 0.0)


def line(name, order=0):
    return row_of(Entry(name, order=order, token_ids=(1, 2), metadata={"a": [1, {"b": None}]}), PLACE)


def journal(folder, lines, rank=0):
    path = folder / JOURNALS / f"{rank:05d}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))


def test_an_entry_comes_back_from_parquet(tmp_path):
    entry = Entry("a", "task", "plan", "t", 3, "train", "heat", False, (5, 6), 9, {"x": {"y": [1.5, "é"]}})
    write_contents(tmp_path, table_of([row_of(entry, PLACE)]), [])
    row = read_contents(tmp_path).rows.to_pylist()[0]
    assert entry_of(row) == entry
    assert {name: row[name] for name in ("shard", "offset", "length")} == {
        "shard": "00000-000000",
        "offset": 3,
        "length": 2,
    }


def test_a_thought_in_index_and_journal_counts_once(tmp_path):
    write_contents(tmp_path, table_of([line("b", 1)]), [Excluded("c", "failed", "empty plan")])
    journal(tmp_path, [line("b", 1), line("a", 0)])
    journal(tmp_path, [{"id": "d", "status": "filtered", "reason": "too long"}], rank=1)
    contents = read_contents(tmp_path)
    assert contents.rows.column("id").to_pylist() == ["a", "b"]
    assert {key: one.status for key, one in contents.excluded.items()} == {"c": "failed", "d": "filtered"}
    assert contents.ids == {"a", "b", "c", "d"}


def test_what_was_tried_again_and_kept_is_no_failure(tmp_path):
    journal(tmp_path, [{"id": "a", "status": "failed", "reason": "NaN"}, line("a")])
    assert read_contents(tmp_path).excluded == {}


def test_a_torn_line_is_left_out(tmp_path):
    journal(tmp_path, [line("a")])
    with open(tmp_path / JOURNALS / "00000.jsonl", "a") as handle:
        handle.write('{"id": "b", "tas')
    assert read_contents(tmp_path).rows.column("id").to_pylist() == ["a"]


def test_journals_vanish(tmp_path):
    journal(tmp_path, [line("a")])
    remove_journals(tmp_path)
    remove_journals(tmp_path)
    assert not (tmp_path / JOURNALS).exists()


def test_a_damaged_index_is_named(tmp_path):
    write_contents(tmp_path, table_of([line("a")]), [])
    assert (tmp_path / EXCLUDED_FILE).read_text() == ""
    whole = bytearray((tmp_path / INDEX_FILE).read_bytes())
    whole[30] ^= 1
    (tmp_path / INDEX_FILE).write_bytes(whole)
    with pytest.raises(StorageError, match="damaged"):
        read_contents(tmp_path)
    (tmp_path / INDEX_FILE).write_bytes(b"PAR1 nothing")
    with pytest.raises(StorageError, match="damaged"):
        read_contents(tmp_path)


@pytest.mark.parametrize(
    ("plan", "opened", "said"),
    [
        ("put apple", "", "put apple"),
        ("<think>find it</think>\nput apple", "", "put apple"),
        ("find it</think>put apple", "<think>\n", "put apple"),
        ("find it", "<think>\n", ""),
    ],
)
def test_a_message_in_words_has_no_thoughts(plan, opened, said):
    entry = Entry("a", plan=plan, metadata={"opened_thought": opened} if opened else {})
    assert (entry.said, entry.plan) == (said, plan)


def rewrite(store, change):
    rows = store.table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), store.directory / INDEX_FILE)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "first edition"])
def test_a_store_without_its_index_is_not_whole(make_store, sealed):
    store = make_store(4)
    (store.directory / INDEX_FILE).unlink()
    if not sealed:
        (store.directory / SEAL_FILE).unlink()
    with pytest.raises(StorageError, match=rf"1 shards but no {INDEX_FILE}|0 thoughts, expected 4"):
        LatentStore.open(store.directory)


@pytest.mark.parametrize(
    ("field", "value"),
    [("plan", "another plan"), ("split", "train2"), ("token_ids", [7]), ("metadata", "{}"), ("finished", False)],
)
def test_a_changed_index_is_noticed(make_store, field, value):
    store = make_store(4)
    rewrite(store, lambda rows: rows[0].update({field: value}))
    with pytest.raises(StorageError, match=INDEX_FILE):
        LatentStore.open(store.directory)


def test_a_line_less_is_noticed(make_store):
    store = make_store(4)
    rewrite(store, lambda rows: rows.pop())
    with pytest.raises(StorageError, match="3 thoughts, expected 4"):
        LatentStore.open(store.directory)


@pytest.mark.parametrize(
    ("name", "old", "new"), [(MANIFEST_FILE, "predicting", "consuming"), (EXCLUDED_FILE, "", "\n")]
)
def test_a_changed_manifest_or_list_of_what_was_left_out_is_noticed(make_store, name, old, new):
    path = make_store(4).directory / name
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(StorageError, match=name):
        LatentStore.open(path.parent)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"thoughts": "x"}', '{"thoughts": 4, "xxh3": []}', "[" * 5000])
def test_a_damaged_seal_is_one_line(make_store, content):
    store = make_store(4)
    (store.directory / SEAL_FILE).write_text(content)
    with pytest.raises(StorageError, match=rf"{SEAL_FILE} is damaged"):
        LatentStore.open(store.directory)


def test_a_store_of_the_first_edition_has_no_seal_and_opens(make_store):
    store = make_store(4)
    (store.directory / SEAL_FILE).unlink()
    assert len(LatentStore.open(store.directory)) == 4


def test_a_finished_store_grows_and_is_sealed_again(make_store, manifest, entry_of, rows_of):
    store = make_store(4)
    with StoreWriter(store.directory, manifest) as writer:
        writer.append(entry_of(4), rows_of(4))
        assert len(LatentStore.open(store.directory)) == 5, "it can be read while it grows"
    with writing(store.directory, manifest) as writer:
        writer.append(entry_of(5), rows_of(5))
    assert json.loads((store.directory / SEAL_FILE).read_text())["thoughts"] == 6
    assert [verdict.problem for verdict in verify(store.directory)] == [""] * 6


def test_new_splits_are_sealed(make_store):
    store = make_store(8)
    assign_splits(store.directory, {"a": 0.5, "b": 0.5})
    assert len(LatentStore.open(store.directory)) == 8


def test_an_old_index_under_a_newer_journal_is_noticed(make_store, manifest, entry_of, rows_of):
    """A store that grows again holds at least what its seal says."""
    store = make_store(4)
    with StoreWriter(store.directory, manifest) as writer:
        writer.append(entry_of(4), rows_of(4))
    (store.directory / INDEX_FILE).unlink()
    with pytest.raises(StorageError, match="1 thoughts, expected 4"):
        LatentStore.open(store.directory)


def test_an_emptied_journal_is_noticed(tmp_path, manifest, entry_of, rows_of):
    with StoreWriter(tmp_path / "s", manifest) as writer:
        for number in range(4):
            writer.append(entry_of(number), rows_of(number))
    shutil.copytree(tmp_path / "s", tmp_path / "lost")
    (journal,) = (tmp_path / "lost" / JOURNALS).iterdir()
    journal.write_text("")
    assert StoreCheck(LatentStore.open(tmp_path / "s")).lost_shards == []
    assert StoreCheck(LatentStore.open(tmp_path / "lost")).lost_shards == ["00000-000000"]
