import json

import pytest

from interlat.errors import StorageError
from interlat.store.index import (
    EXCLUDED_FILE,
    INDEX_FILE,
    JOURNALS,
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
