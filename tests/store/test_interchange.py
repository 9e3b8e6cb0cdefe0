import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch

from interlat.errors import InputError, MessageError, StorageError
from interlat.store import interchange
from interlat.store.interchange import export_store, import_store
from interlat.store.manifest import KeptLayer
from interlat.store.reading import LatentStore
from interlat.store.verify import verify
from interlat.store.writer import StoreWriter, finish, writing

FORMS = ["jsonl", "json", "parquet", "hf"]


def write_json_lines(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def item(number, rows=2, size=4, **changes):
    states = [[float(number + row)] * size for row in range(rows)]
    return {"task_id": f"t{number}", "task": f"task {number}", "plan": "p", "hidden_state": states} | changes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_there_and_back_is_exact(make_store, manifest, tmp_path, form, dtype, monkeypatch):
    monkeypatch.setattr(interchange, "GROUP_BYTES", 300)
    store = make_store(23, manifest=dataclasses.replace(manifest, dtype=dtype))
    export_store(store, tmp_path / f"x.{form}", form)
    list(import_store(tmp_path / f"x.{form}", tmp_path / "back", state_at="before_token", dtype=dtype))
    back = LatentStore.open(tmp_path / "back")
    assert back.ids == store.ids
    for number in range(23):
        assert back.entry(number) == store.entry(number)
        assert back.hidden_states(number).dtype == store.hidden_states(number).dtype
        assert torch.equal(back.hidden_states(number), store.hidden_states(number))
    assert back.table.column("checksum").equals(store.table.column("checksum"))
    assert back.manifest.method == "imported" and len(back.manifest.settings["sha256"]) == 64
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("form", FORMS)
def test_a_float64_store_loses_nothing(make_store, manifest, tmp_path, form, entry_of):
    wide = dataclasses.replace(manifest, dtype="float64")
    with writing(tmp_path / "wide", wide) as writer:
        writer.append(entry_of(1), torch.rand(2, 8, dtype=torch.float64))
    export_store(LatentStore.open(tmp_path / "wide"), tmp_path / f"x.{form}", form)
    list(import_store(tmp_path / f"x.{form}", tmp_path / "back", state_at="before_token", dtype="float64"))
    pair = [LatentStore.open(tmp_path / name).hidden_states(0) for name in ("wide", "back")]
    assert torch.equal(*pair)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_unicode_in_the_metadata_is_kept(manifest, tmp_path, form, entry_of, rows_of):
    entry = dataclasses.replace(entry_of(1), metadata={"note": "x\ud800"})
    with writing(tmp_path / "store", manifest) as writer:
        writer.append(entry, rows_of(1))
        with pytest.raises(MessageError, match="the task holds a lone surrogate"):
            writer.append(dataclasses.replace(entry_of(2), task="\ud800"), rows_of(2))
    export_store(LatentStore.open(tmp_path / "store"), tmp_path / f"x.{form}", form)
    list(import_store(tmp_path / f"x.{form}", tmp_path / "back", state_at="before_token"))
    assert LatentStore.open(tmp_path / "back").entry(0).metadata["note"] == "x\ud800"


def test_an_import_lists_what_is_no_unicode(tmp_path):
    path = write_json_lines(tmp_path / "x.jsonl", [item(0), item(1, task="\ud83d"), item(2, task_id="t\ud800")])
    list(import_store(path, tmp_path / "store", state_at="before_token"))
    store = LatentStore.open(tmp_path / "store")
    assert store.ids == ["t0"] and set(store.excluded) == {"t1", "t\ud800"}


def test_an_export_is_what_other_programs_expect(make_store, tmp_path, rows_of):
    import datasets

    store = make_store(5)
    for form in FORMS:
        export_store(store, tmp_path / f"x.{form}", form)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert lines == json.loads((tmp_path / "x.json").read_text())
    assert list(lines[3]) == ["task_id", "task", "plan", "hidden_state", "metadata"]
    assert lines[3]["task_id"] == "item/3" and lines[3]["metadata"]["level"] == 3
    assert torch.equal(torch.tensor(lines[3]["hidden_state"]), rows_of(3))
    columns = ["task", "task_id", "plan", "hidden_state", "task_type", "split", "metadata"]
    assert pq.read_schema(tmp_path / "x.parquet").names == columns
    saved = datasets.load_from_disk(str(tmp_path / "x.hf"))
    assert saved.column_names == columns and saved.features["hidden_state"] == datasets.List(
        datasets.List(datasets.Value("float32"))
    )
    for rows in (pq.read_table(tmp_path / "x.parquet").to_pylist(), saved.to_list()):
        assert rows[3]["task_type"] == "clean" and rows[3]["split"] == "test"
        assert json.loads(rows[3]["metadata"]) == lines[3]["metadata"]
        assert torch.equal(torch.tensor(rows[3]["hidden_state"]), rows_of(3))


@pytest.mark.parametrize("form", FORMS)
def test_a_split_alone_and_nothing_at_all_can_be_exported(make_store, tmp_path, form):
    import datasets

    export_store(make_store(9), tmp_path / f"test.{form}", form, split="test")
    list(import_store(tmp_path / f"test.{form}", tmp_path / "back", state_at="before_token"))
    assert LatentStore.open(tmp_path / "back").ids == ["item/0", "item/3", "item/6"]
    export_store(make_store(0, "empty"), tmp_path / f"empty.{form}", form)
    if form == "json":
        assert json.loads((tmp_path / "empty.json").read_text()) == []
    if form == "hf":
        assert len(datasets.load_from_disk(str(tmp_path / "empty.hf"))) == 0
    with pytest.raises(InputError, match="has no"):
        list(import_store(tmp_path / f"empty.{form}", tmp_path / "none", state_at="before_token"))


def test_one_of_several_layers_is_exported(tmp_path, manifest, rows_of, entry_of):
    several = dataclasses.replace(manifest, layers=(KeptLayer(-1, "post"), KeptLayer(-2, "pre")))
    with writing(tmp_path / "store", several) as writer:
        writer.append(entry_of(3), torch.stack([rows_of(3), 2 * rows_of(3)], dim=1))
    store = LatentStore.open(tmp_path / "store")
    with pytest.raises(InputError, match=r"keeps 2 layers.* choose one of 0 \(layer -1, post-norm\), 1 \(layer -2"):
        export_store(store, tmp_path / "x.parquet", "parquet")
    with pytest.raises(InputError, match="no layer number 2"):
        export_store(store, tmp_path / "x.parquet", "parquet", layer=2)
    assert not (tmp_path / "x.parquet").exists()
    export_store(store, tmp_path / "x.parquet", "parquet", layer=1)
    list(import_store(tmp_path / "x.parquet", tmp_path / "back", state_at="before_token"))
    assert torch.equal(LatentStore.open(tmp_path / "back").hidden_states(0), 2 * rows_of(3))


def test_bad_exports_are_errors_and_leave_nothing(make_store, tmp_path):
    store = make_store(3)
    with pytest.raises(InputError, match="form is 'csv'; choose one of jsonl, json, parquet, hf"):
        export_store(store, tmp_path / "x", "csv")
    with pytest.raises(InputError, match="no split 'dev'"):
        export_store(store, tmp_path / "x", "hf", split="dev")
    (tmp_path / "there").mkdir()
    for form in FORMS:
        with pytest.raises(InputError, match="exists already"):
            export_store(store, tmp_path / "there", form)
    next((store.directory / "shards").iterdir()).unlink()
    for form in FORMS:
        with pytest.raises(StorageError, match="missing"):
            export_store(LatentStore.open(store.directory), tmp_path / "x", form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "there"]


def test_items_that_cannot_be_used_are_listed_and_the_rest_goes_on(tmp_path):
    items = [
        item(0, hidden_state=[]),
        item(1),
        item(2, hidden_state=[[1.0] * 4, [1.0] * 3]),
        item(3, size=5),
        item(4, hidden_state=[[1.0, 2.0, float("nan"), 3.0]]),
        item(5, hidden_state=[[1.0, 2.0, None, 3.0]]),
        item(6, hidden_state=None),
        item(7, hidden_state=[["a", "b", "c", "d"]]),
        item(8, hidden_state=[[[1.0] * 4], [[1.0] * 4]]),
        item(9, hidden_state=[[[1.0] * 4, [2.0] * 4]]),
        item(10, hidden_state=[1.0] * 4),
        item(11, hidden_state=[[1e300] * 4]),
        item(12),
    ]
    path = write_json_lines(tmp_path / "x.jsonl", items)
    with open(path, "a") as handle:
        handle.write('{"task_id": "torn", "hidden_st')
    list(import_store(path, tmp_path / "store", state_at="after_token"))
    store = LatentStore.open(tmp_path / "store")
    assert store.ids == ["t1", "t9", "t12"] and store.manifest.state_at == "after_token"
    assert torch.equal(store.hidden_states("t9"), torch.tensor([[1.0] * 4, [2.0] * 4]))
    excluded = {key: one.reason for key, one in store.excluded.items()}
    assert excluded.keys() == {*(f"t{number}" for number in (0, 2, 3, 4, 5, 6, 7, 8, 10, 11)), "item 13"}
    assert all(one.status == "failed" for one in store.excluded.values())
    for key, reason in {
        "t2": "no numbers of one length",
        "t3": "shape [5]",
        "t4": "NaN or infinite",
        "t6": "no hidden_state",
        "t8": "shape [2, ",
        "t11": "NaN or infinite",
        "item 13": "not JSON",
    }.items():
        assert reason in excluded[key]
    assert not any(verdict.problem for verdict in verify(store))


def test_what_is_known_of_an_item_is_kept(tmp_path):
    items = [
        item(0, task_type="Algebra", task_level="Level 3", timestamp="now", metadata={"seed": 1}),
        item(1, metadata='{"task_type": "clean", "seed": 2}', split="test"),
        item(2, task_id=17, plan=None, metadata="no object"),
        {"id": "other", "task": "t", "hidden_state": [[1.0] * 4]},
        item(4, subject="geometry"),
    ]
    path = write_json_lines(tmp_path / "x.jsonl", items)
    list(import_store(path, tmp_path / "store", state_at="before_token", model="some/model", split="train"))
    store = LatentStore.open(tmp_path / "store")
    assert store.ids == ["t0", "t1", "17", "other", "t4"]
    entries = [store.entry(number) for number in range(5)]
    assert entries[0].metadata == {"level": "Level 3", "timestamp": "now", "seed": 1}
    assert [entry.task_type for entry in entries] == ["Algebra", "clean", "", "", ""]
    assert [entry.split for entry in entries] == ["train", "test", "train", "train", "train"]
    assert entries[1].metadata == {"task_type": "clean", "seed": 2}
    assert entries[2].plan == "" and entries[2].metadata == {"metadata": "no object"}
    assert entries[4].metadata == {"subject": "geometry"} and entries[4].task_id == "t4"
    assert store.manifest.model == "some/model" and store.manifest.settings["imported_from"] == str(path)
    list(import_store(path, tmp_path / "other", state_at="before_token", task_type_field="subject"))
    assert LatentStore.open(tmp_path / "other").entry("t4").task_type == "geometry"


def test_items_of_the_same_id_are_all_kept(tmp_path):
    items = [item(0), item(1), item(0, rows=1), item(2, task_id="t0#1"), item(0, rows=3), item(3, task_id="")]
    path = write_json_lines(tmp_path / "x.jsonl", items)
    for _ in range(2):
        list(import_store(path, tmp_path / "store", state_at="before_token"))
        store = LatentStore.open(tmp_path / "store")
        assert store.ids == ["t0", "t1", "t0#1", "t0#1#1", "t0#2", "item 5"]
        assert store.lengths == [2, 2, 1, 2, 3, 2] and not store.excluded
    assert [(store.entry(key).task_id, store.entry(key).sample) for key in ("t0", "t0#1", "t0#2")] == [
        ("t0", number) for number in range(3)
    ]


@pytest.mark.parametrize("dtype, encoding", [("float16", "plain"), ("float32", "int8"), ("bfloat16", "float8")])
def test_the_number_format_is_chosen(tmp_path, dtype, encoding):
    path = write_json_lines(tmp_path / "x.jsonl", [item(number) for number in range(4)])
    list(import_store(path, tmp_path / "store", state_at="before_token", dtype=dtype, encoding=encoding))
    store = LatentStore.open(tmp_path / "store")
    assert (store.manifest.dtype, store.manifest.encoding) == (dtype, encoding)
    assert torch.equal(store.hidden_states("t3").float(), torch.tensor([[3.0] * 4, [4.0] * 4]))


def test_a_number_too_large_for_the_format_fails_its_item(tmp_path):
    path = write_json_lines(tmp_path / "x.jsonl", [item(0), item(1, hidden_state=[[1e5] * 4])])
    list(import_store(path, tmp_path / "store", state_at="before_token", dtype="float16"))
    store = LatentStore.open(tmp_path / "store")
    assert store.ids == ["t0"] and "infinite" in store.excluded["t1"].reason


def test_bad_choices_and_sources_are_errors_and_leave_nothing(tmp_path):
    path = write_json_lines(tmp_path / "x.jsonl", [item(0)])
    for changes, message in [
        ({"state_at": "before"}, "state_at is 'before'; choose one of before_token, after_token"),
        ({"encoding": "int4"}, "encoding is 'int4'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ]:
        with pytest.raises(InputError, match=message):
            list(import_store(path, tmp_path / "store", **{"state_at": "before_token", **changes}))
    empty = write_json_lines(tmp_path / "empty.jsonl", [item(0, hidden_state=[[]]), item(1, hidden_state=[])])
    with pytest.raises(InputError, match="no item with states"):
        list(import_store(empty, tmp_path / "store", state_at="before_token"))
    assert not (tmp_path / "store").exists()


def test_another_file_or_other_settings_do_not_mix_into_a_store(tmp_path):
    path = write_json_lines(tmp_path / "x.jsonl", [item(0)])
    list(import_store(path, tmp_path / "store", state_at="before_token"))
    with pytest.raises(StorageError, match="another state_at"):
        list(import_store(path, tmp_path / "store", state_at="after_token"))
    write_json_lines(path, [item(0), item(1)])
    with pytest.raises(StorageError, match=r"another settings\.sha256"):
        list(import_store(path, tmp_path / "store", state_at="before_token"))


def test_an_import_goes_on_where_it_stopped(tmp_path):
    path = write_json_lines(tmp_path / "x.jsonl", [item(n, hidden_state=None) if n == 2 else item(n) for n in range(9)])
    choices = {"dtype": "float32", "encoding": "plain", "model": "", "split": "", "task_type_field": "task_type"}
    steps = import_store(path, tmp_path / "store", state_at="before_token", **choices)
    assert [next(steps) for _ in range(5)] == [(number, 9) for number in range(1, 6)]
    steps.close()
    half = LatentStore.open(tmp_path / "store")
    assert half.unfinished and half.ids == ["t0", "t1", "t3", "t4"] and list(half.excluded) == ["t2"]
    written = []
    append = StoreWriter.append
    StoreWriter.append = lambda self, entry, *rows: written.append(entry.id) or append(self, entry, *rows)
    try:
        steps = import_store(path, tmp_path / "store", state_at="before_token", **choices)
        assert list(steps)[-1] == (9, 9)
    finally:
        StoreWriter.append = append
    store = LatentStore.open(tmp_path / "store")
    assert written == ["t5", "t6", "t7", "t8"] and not store.unfinished
    assert store.ids == ["t0", "t1", *(f"t{n}" for n in range(3, 9))] and list(store.excluded) == ["t2"]


def test_a_killed_import_loses_nothing(tmp_path):
    path = write_json_lines(tmp_path / "x.jsonl", [item(number, rows=3, size=16) for number in range(2000)])
    code = (
        "import sys; from interlat.store.interchange import import_store;"
        "list(import_store(sys.argv[1], sys.argv[2], state_at='before_token'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(tmp_path / "store")])
    journal = tmp_path / "store" / "journals" / "00000.jsonl"
    while not journal.exists() or journal.stat().st_size < 20_000:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = LatentStore.open(tmp_path / "store")
    assert before.unfinished and 0 < len(before) < 2000
    list(import_store(path, tmp_path / "store", state_at="before_token"))
    store = LatentStore.open(tmp_path / "store")
    assert store.ids == [f"t{number}" for number in range(2000)] and not store.excluded
    assert not any(verdict.problem for verdict in verify(store))


def test_an_unfinished_store_can_be_exported(tmp_path, manifest, rows_of, entry_of):
    with StoreWriter(tmp_path / "store", manifest) as writer:
        writer.append(entry_of(3), rows_of(3))
        export_store(LatentStore.open(tmp_path / "store"), tmp_path / "x.jsonl", "jsonl")
    finish(tmp_path / "store")
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 1


def test_the_four_published_fields_are_enough(tmp_path):
    """The object that the published README shows: no task text, the model in the metadata."""
    item = {
        "task_id": "task_001",
        "plan": "Step-by-step reasoning plan",
        "hidden_state": [[1.0, 2.0], [3.0, 4.5]],
        "metadata": {"model": "Qwen2.5-0.5B-Instruct", "compression_ratio": 8},
    }
    (tmp_path / "x.json").write_text(json.dumps([item]))
    list(import_store(tmp_path / "x.json", tmp_path / "store", state_at="before_token"))
    thought = LatentStore.open(tmp_path / "store")["task_001"]
    assert thought.hidden_states.tolist() == item["hidden_state"]
    assert (thought.entry.plan, thought.entry.metadata) == (item["plan"], item["metadata"])
