import json

import pytest

from interlat.cli.main import execute, parse
from interlat.cli.plots import PlotStore
from interlat.cli.store import (
    ExportStore,
    ImportStore,
    MergeStores,
    ProbeStore,
    PullStore,
    PushStore,
    SplitStore,
    StoreInfo,
    VerifyStore,
)
from interlat.errors import InputError, StorageError
from interlat.store.index import SHARDS
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.store.statistics import describe
from interlat.store.writer import StoreWriter

MANIFEST = Manifest(
    hidden_size=8,
    model="some/model",
    weights_fingerprint="0123456789abcdef",
    settings={"prompt_template": "line\n" * 200, "sampling": {"temperature": 0.7}, "seed": 3, "empty": ""},
)


def test_info_fits_80_columns_and_says_the_first_things_first(make_store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    execute(StoreInfo(make_store()))
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert output.err == "" and max(map(len, lines)) <= 80
    text = " ".join(output.out.split())
    for words in (
        "thoughts 12; 1 failed, 0 filtered out",
        "rows a thought 1 to 5, median",
        "splits test 8, train 4",
        "task types heat 8, clean 4",
        "hidden size 8, layer -1 (post-norm), before_token",
        "model some/model",
        "weights 0123456789ab",
        "1,000 characters; --json shows all",
        'sampling {"temperature": 0.7}',
    ):
        assert words in text
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert names[:4] == ["store", "thoughts", "finished", "rows"]
    assert "unfinished" not in text and "empty" not in text and "tokenizer" not in text


def test_info_of_unfinished_and_empty_stores(tmp_path, capsys):
    with StoreWriter(tmp_path, MANIFEST):
        execute(StoreInfo(str(tmp_path)))
    text = " ".join(capsys.readouterr().out.split())
    assert "unfinished a process is still writing, or was killed" in text and "thoughts 0; 0 failed" in text
    assert "rows a thought" not in text and "splits" not in text


def test_info_as_json_is_one_object(make_store, capsys):
    store = make_store()
    execute(StoreInfo(store, json=True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == json.loads(json.dumps(describe(LatentStore.open(store)).to_dict()))


def damage(store):
    path = LatentStore.open(store).directory / SHARDS / "00000-000000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_verify_says_which_thought_is_bad(make_store, capsys):
    store = make_store()
    assert execute(VerifyStore(store)) == 0
    output = capsys.readouterr()
    assert output.out == "" and "12 of 12 thoughts are whole, 0 are bad" in output.err
    damage(store)
    assert execute(VerifyStore(store)) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == ["t11: its bytes are not those that were written (wrong checksum)"]
    assert "11 of 12 thoughts are whole, 1 are bad" in output.err and "verify: 12 of 12" in output.err


def test_verify_as_json_ends_with_a_summary(make_store, capsys):
    store = make_store()
    damage(store)
    assert execute(VerifyStore(store, json=True)) == 1
    bad, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert bad["id"] == "t11" and "checksum" in bad["problem"]
    assert summary == {"thoughts": 12, "bad": 1, "unclaimed_rows": {}, "lost_shards": []}


def test_rows_of_nobody_are_mentioned(make_store, tmp_path, capsys):
    execute(MergeStores((make_store("a"), make_store("b", 6)), str(tmp_path / "c")))
    assert "18 thoughts of 2 stores in" in capsys.readouterr().err
    assert execute(VerifyStore(str(tmp_path / "c"), json=True)) == 0
    output = capsys.readouterr()
    twice = sum(1 + number % 5 for number in range(6, 12))
    assert f"shard 00001-000000 has {twice} rows that belong to no thought" in output.err
    unclaimed = {"00001-000000": twice}
    assert json.loads(output.out) == {"thoughts": 18, "bad": 0, "unclaimed_rows": unclaimed, "lost_shards": []}


def command(kind, *words):
    return parse(kind, list(words))


def test_the_store_is_the_first_word_of_every_command():
    assert command(StoreInfo, "a", "--json") == StoreInfo("a", json=True)
    assert command(VerifyStore, "a") == VerifyStore("a")
    assert command(MergeStores, "a", "b", "c", "--output", "d") == MergeStores(("a", "b", "c"), "d")
    assert command(ExportStore, "a", "--output", "x", "--form", "hf", "--layer", "1") == ExportStore(
        "a", "x", "hf", layer=1
    )
    assert command(ImportStore, "x.jsonl", "--output", "a", "--state-at", "after_token").state_at == "after_token"
    assert command(PlotStore, "a", "--output", "x", "--max-rows", "5") == PlotStore("a", "x", max_rows=5)
    shares = {"train": 0.9, "test": 0.1}
    assert command(SplitStore, "a", "--shares", "train", "0.9", "test", "0.1") == SplitStore("a", shares)
    assert command(PushStore, "a", "--repository", "x/y", "--no-private") == PushStore("a", "x/y", private=False)
    assert command(PushStore, "a", "--repo", "x/y") == PushStore("a", "x/y", private=True)
    assert command(PullStore, "x/y", "--output", "a", "--revision", "v1") == PullStore("x/y", "a", "v1")


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (StoreInfo, "store: a\njson: true\n", StoreInfo("a", True)),
        (MergeStores, "stores: [a, b]\noutput: c\n", MergeStores(("a", "b"), "c")),
        (SplitStore, "store: a\nshares: {x: 0.5, y: 0.5}\n", SplitStore("a", {"x": 0.5, "y": 0.5})),
        (ImportStore, "source: s\noutput: a\nstate_at: before_token\n", ImportStore("s", "a", "before_token")),
    ],
)
def test_a_configuration_file_fills_the_fields(tmp_path, kind, text, wanted):
    (tmp_path / "config.yaml").write_text(text)
    assert command(kind, "--config", str(tmp_path / "config.yaml")) == wanted


def test_a_word_overrides_the_configuration_file(tmp_path):
    (tmp_path / "config.yaml").write_text("store: a\njson: true\n")
    assert command(StoreInfo, "b", "--config", str(tmp_path / "config.yaml")) == StoreInfo("b", True)


@pytest.mark.parametrize("missing", [[], ["a"], ["--output", "x"]])
def test_state_at_has_to_be_given(missing):
    with pytest.raises(InputError, match="state_at"):
        command(ImportStore, *missing)


def test_stores_are_merged(make_store, tmp_path, capsys):
    execute(MergeStores((make_store("a"), make_store("b", 12)), str(tmp_path / "c")))
    assert len(LatentStore.open(tmp_path / "c")) == 24
    assert "24 thoughts of 2 stores in" in capsys.readouterr().err
    with pytest.raises(InputError, match="no stores"):
        execute(MergeStores((), str(tmp_path / "d")))


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet", "hf"])
def test_a_store_goes_out_and_comes_in_again(make_store, tmp_path, capsys, form):
    store = make_store()
    target = str(tmp_path / f"x.{form}")
    execute(ExportStore(store, target, form, split="test"))
    assert execute(ImportStore(target, str(tmp_path / "back"), "before_token", model="m")) == 0
    back = LatentStore.open(tmp_path / "back")
    assert back.ids == LatentStore.open(store).split("test").ids and back.manifest.model == "m"
    output = capsys.readouterr()
    assert output.out == "" and "8 thoughts in" in output.err and "0 items failed" in output.err


def test_an_import_with_failed_items_ends_with_1(tmp_path, capsys):
    items = [{"task_id": f"t{n}", "task": "x", "hidden_state": [[1.0]] if n else []} for n in range(3)]
    (tmp_path / "x.json").write_text(json.dumps(items))
    assert execute(ImportStore(str(tmp_path / "x.json"), str(tmp_path / "store"), "after_token")) == 1
    error = capsys.readouterr().err
    assert "2 thoughts in" in error and "1 items failed" in error and "failed t0: its hidden_state has no rows" in error


def test_a_source_that_cannot_be_used_shows_no_bar(tmp_path, capsys):
    with pytest.raises(InputError, match="cannot read"):
        execute(ImportStore(str(tmp_path / "x.jsonl"), str(tmp_path / "store"), "after_token"))
    output = capsys.readouterr()
    assert output.out == output.err == "" and not list(tmp_path.iterdir())


def test_splits_are_counted(make_store, capsys):
    store = make_store(count=40)
    execute(SplitStore(store, {"dev": 0.5, "held out": 0.5}))
    counts = describe(LatentStore.open(store)).splits
    assert counts.keys() == {"dev", "held out"}
    assert f"dev {counts['dev']}, held out {counts['held out']} thoughts in" in capsys.readouterr().err


def test_push_prints_the_address_and_pull_the_count(make_store, tmp_path, capsys, hub_server):
    store = make_store()
    execute(PushStore(store, "somebody/thoughts"))
    commit = hub_server.data_set("somebody/thoughts").branches["main"]
    assert capsys.readouterr().out == f"{hub_server.url}/datasets/somebody/thoughts/commit/{commit}\n"
    execute(PullStore("somebody/thoughts", str(tmp_path / "back")))
    assert "12 thoughts in" in capsys.readouterr().err
    assert LatentStore.open(tmp_path / "back").ids == LatentStore.open(store).ids


def test_push_is_for_stores_alone(tmp_path, hub_server):
    (tmp_path / "config.json").touch()
    with pytest.raises(StorageError, match="no latent store"):
        execute(PushStore(str(tmp_path), "somebody/thoughts"))
    assert hub_server.requests == []


def test_a_probe_says_what_it_found_and_against_what(make_store, capsys):
    store = make_store(count=60)
    execute(ProbeStore(store, label="split", permutations=20))
    output = capsys.readouterr()
    first, second = output.out.splitlines()
    assert first.startswith("split from mean: ") and "of 60 thoughts, 2 labels" in first
    assert second.startswith("shuffled labels ") and "the most common label 66.7 %" in second and output.err == ""
    execute(ProbeStore(store, label="task", place=5, permutations=20, least=2, json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == "task[5]" and found["thoughts"] + found["left_out"] == 60
    assert set(found["accuracy"]) == {"estimate", "low", "high"}
