import json

import pytest

from interlat.cli.main import execute, parse
from interlat.cli.plots import PlotStore
from interlat.cli.store_forms import ExportStore, ImportStore, MergeStores, SplitStore
from interlat.cli.store_hub import PullStore, PushStore
from interlat.cli.store_info import StoreInfo
from interlat.cli.store_verify import VerifyStore
from interlat.errors import InputError
from interlat.store.reading import LatentStore
from interlat.store.statistics import describe


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
