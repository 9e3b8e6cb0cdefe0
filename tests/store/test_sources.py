"""The layouts in which hidden states are published, and files that are damaged."""

import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from interlat.errors import InputError, MessageError
from interlat.store import sources
from interlat.store.sources import Item, open_source

NESTED = pa.list_(pa.list_(pa.float32()))


def items(count=5, size=4):
    """As the published collectors have them in memory."""
    rng = np.random.default_rng(0)
    return [
        {
            "task": f"task {number}",
            "task_id": f"id{number}",
            "plan": f"plan {number}",
            "task_type": "Algebra",
            "task_level": f"Level {number}",
            "hidden_state": rng.random((number + 1, size), np.float32).tolist(),
        }
        for number in range(count)
    ]


FEATURES = datasets.Features(
    {
        **{name: datasets.Value("string") for name in ("task", "task_id", "plan", "task_type", "task_level")},
        "hidden_state": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
    }
)


def saved(folder, content=None):
    content = items() if content is None else content
    datasets.Dataset.from_list(content, features=FEATURES).save_to_disk(str(folder))


def parquet(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = FEATURES.arrow_schema.remove_metadata()
    pq.write_table(pa.Table.from_pylist(items() if content is None else content, schema), path, use_dictionary=True)


def check(source, name, content=None):
    content = items() if content is None else content
    found = open_source(source)
    assert found.name == str(name) and found.count == len(content)
    for _ in range(2):
        read = list(found.items())
        assert [item.fields["task_id"] for item in read] == [item["task_id"] for item in content]
        for item, wanted in zip(read, content, strict=True):
            assert torch.equal(item.tensor().float(), torch.tensor(wanted["hidden_state"]))
            assert {key: item.fields[key] for key in ("task", "plan", "task_level")} == {
                key: wanted[key] for key in ("task", "plan", "task_level")
            }
    return found


@pytest.mark.parametrize("folder", ["", "hf_dataset", "huggingface_dataset"])
def test_a_saved_data_set(tmp_path, folder):
    saved(tmp_path / "x" / folder)
    check(tmp_path / "x", tmp_path / "x")


@pytest.mark.parametrize("file", ["data.parquet", "data_full.parquet", "parquet_shards/data-00000.parquet"])
def test_published_parquet(tmp_path, file):
    parquet(tmp_path / "x" / file)
    check(tmp_path / "x" / file, tmp_path / "x" / file)
    check(tmp_path / "x", tmp_path / "x")


def test_several_files_follow_each_other(tmp_path):
    everything = items(7)
    parquet(tmp_path / "x" / "parquet_shards" / "data-00000.parquet", everything[:3])
    parquet(tmp_path / "x" / "parquet_shards" / "data-00001.parquet", everything[3:])
    check(tmp_path / "x", tmp_path / "x", everything)
    datasets.Dataset.from_list(everything, features=FEATURES).save_to_disk(str(tmp_path / "y"), num_shards=3)
    check(tmp_path / "y", tmp_path / "y", everything)


def test_the_whole_layout_of_the_published_collector(tmp_path):
    saved(tmp_path / "x" / "hf_dataset")
    parquet(tmp_path / "x" / "data_full.parquet", items()[:1])
    check(tmp_path / "x", tmp_path / "x")


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
@pytest.mark.parametrize("layout", ["lines", "lines in .json", "list", "indented list"])
def test_json(tmp_path, layout, chunk, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK", chunk)
    content = items()
    content[1]["task"] = 'put {a} "mug" \\ in\\" [the] }sink\n\u2028'
    path = tmp_path / ("x.jsonl" if layout == "lines" else "x.json")
    if "lines" in layout:
        text = "\n".join(json.dumps(item, ensure_ascii=False) for item in content) + "\n\n"
    else:
        text = "\n " + json.dumps(content, ensure_ascii=False, indent=2 if "indented" in layout else None)
    path.write_text(text, encoding="utf-8")
    check(path, path, content)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.float64())),
        pa.list_(pa.list_(pa.float16())),
        pa.large_list(pa.large_list(pa.float32())),
        pa.list_(pa.list_(pa.float32(), 4)),
        pa.list_(NESTED),
    ],
    ids=str,
)
def test_every_kind_of_nested_list(tmp_path, kind):
    content = [{**item, "hidden_state": np.round(np.array(item["hidden_state"]), 1).astype(np.float16).tolist()}
               for item in items()]  # fmt: skip
    deep = kind == pa.list_(NESTED)
    lists = [[item["hidden_state"]] if deep else item["hidden_state"] for item in content]
    columns = {name: [item[name] for item in content] for name in ("task", "task_id", "plan", "task_level")}
    if kind.value_type.value_type == pa.float16():
        flat = pa.array(np.concatenate([np.array(rows, np.float16).ravel() for rows in lists]))
        rows = pa.ListArray.from_arrays(np.arange(0, len(flat) + 1, 4, dtype=np.int32), flat)
        states = pa.ListArray.from_arrays(np.cumsum([0, *map(len, lists)], dtype=np.int32), rows)
    else:
        states = pa.array(lists, kind)
    pq.write_table(pa.table({**columns, "hidden_state": states}), tmp_path / "x.parquet")
    check(tmp_path / "x.parquet", tmp_path / "x.parquet", content)


def test_a_data_set_of_arrays(tmp_path):
    features = datasets.Features({**FEATURES, "hidden_state": datasets.Array2D((None, 4), "float32")})
    datasets.Dataset.from_list(items(), features=features).save_to_disk(str(tmp_path / "x"))
    check(tmp_path / "x", tmp_path / "x")


def test_small_batches_are_read_as_large_ones(tmp_path, monkeypatch):
    parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(sources, "BATCH_BYTES", 1)
    check(tmp_path / "x.parquet", tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("states", "problem"),
    [
        ([], "no rows"),
        (None, "no hidden_state"),
        ([[]], "no numbers of one length"),
        ([[1.0, 2.0], [1.0]], "no numbers of one length"),
        ([[1.0, 2.0], None], "no numbers of one length"),
        ([[1.0, None]], "no numbers of one length"),
    ],
)
def test_unusable_states_are_refused(states, problem):
    with pytest.raises(MessageError, match=problem):
        Item({}, pa.array([states], NESTED)[0]).tensor()
    if states is None or len(states) > 1:
        with pytest.raises(MessageError, match="hidden_state"):
            Item({}, states).tensor()


@pytest.mark.parametrize(
    ("states", "problem"),
    [
        (pa.array([[[[1.0, 2.0]], [[3.0, 4.0]]]], pa.list_(NESTED)), r"shape \[2, T, D\]"),
        (pa.array([["a"]]), "expected lists of lists"),
        (pa.array([[["a", "b"]]]), "no numbers"),
        (pa.array(["[[1.0]]"]), "is string, expected lists of lists"),
    ],
)
def test_other_columns_are_no_states(states, problem):
    with pytest.raises(MessageError, match=problem):
        Item({}, states[0]).tensor()


def test_the_identity_is_that_of_the_content(tmp_path):
    parquet(tmp_path / "x.parquet")
    parquet(tmp_path / "same.parquet")
    parquet(tmp_path / "other.parquet", items(4))
    x, same, other = (open_source(tmp_path / f"{name}.parquet").identity for name in ("x", "same", "other"))
    assert x == same != other


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet", "saved"])
@pytest.mark.parametrize("column", ["hidden_state", "task_id"])
def test_missing_columns_are_named_with_those_there_are(tmp_path, form, column):
    content = [{key: value for key, value in item.items() if key != column} for item in items()]
    path = tmp_path / f"x.{form}"
    if form == "saved":
        datasets.Dataset.from_list(content).save_to_disk(str(path))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    else:
        path.write_text(json.dumps(content) if form == "json" else "\n".join(map(json.dumps, content)))
    with pytest.raises(InputError, match=rf"no column {column}.*; it has .*plan, task_type, task_level"):
        open_source(path)


def test_a_first_item_without_states_does_not_hide_the_column(tmp_path):
    first, *rest = items()
    content = [{**first, "hidden_state": None}, *rest]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, content)))
    assert open_source(tmp_path / "x.jsonl").count == 5


def test_splits_of_a_saved_dictionary(tmp_path):
    parts = {"train": items(4), "test": items(2)}
    whole = {name: datasets.Dataset.from_list(part, features=FEATURES) for name, part in parts.items()}
    datasets.DatasetDict(whole).save_to_disk(str(tmp_path / "x"))
    assert open_source(tmp_path / "x", "test").count == 2
    for split, message in {"": "several splits; choose one of train, test", "dev": "no split 'dev'"}.items():
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / "x", split)


def test_damaged_files_are_errors(tmp_path):
    parquet(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-9])
    saved(tmp_path / "saved")
    data = next((tmp_path / "saved").glob("*.arrow"))
    data.write_bytes(data.read_bytes()[:300])
    (tmp_path / "x.json").write_text(json.dumps(items())[:-30])
    (tmp_path / "x.jsonl").write_bytes(b'{"task": "\xff"}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "broken.json").write_text(json.dumps(items()).replace("plan 2", 'plan" 2'))
    for name in ("x.parquet", "saved", "x.json", "x.jsonl", "deep.json", "broken.json"):
        with pytest.raises(InputError, match=r"cannot read .*copy the file again"):
            list(open_source(tmp_path / name).items())


def test_places_without_data_are_errors(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n")
    for name, message in [
        ("x.csv", "no known format"),
        ("none.jsonl", "cannot read .*none.jsonl: .*No such file"),
        ("none.parquet", "cannot read .*none.parquet"),
        ("", "holds no data set"),
    ]:
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / name)


class Hub:
    """What a data set on the hub answers, without a network."""

    def __init__(self, monkeypatch, parts):
        self.asked = []
        self.parts = {name: datasets.Dataset.from_list(part, features=FEATURES) for name, part in parts.items()}
        monkeypatch.setattr(sources, "HfApi", lambda: self)
        monkeypatch.setattr(datasets, "load_dataset", self.load_dataset)

    def dataset_info(self, name):
        return type("Info", (), {"sha": "abc123"})

    def load_dataset(self, name, split, revision):
        self.asked.append((name, split, revision))
        if split is None:
            return datasets.DatasetDict(self.parts)
        if split not in self.parts:
            raise ValueError(f'Unknown split "{split}".')
        return self.parts[split]


def test_a_data_set_on_the_hub(monkeypatch):
    hub = Hub(monkeypatch, {"train": items()})
    found = check("some/thoughts", "some/thoughts")
    assert found.identity == {"revision": "abc123"}
    assert hub.asked == [("some/thoughts", None, "abc123")]


def test_splits_of_a_data_set_on_the_hub(monkeypatch):
    Hub(monkeypatch, {"train": items(3), "test": items(2)})
    assert open_source("some/thoughts", "test").count == 2
    with pytest.raises(InputError, match="choose one of train, test"):
        open_source("some/thoughts")
    with pytest.raises(InputError, match='some/thoughts on the hub is out of reach: Unknown split "dev"'):
        open_source("some/thoughts", "dev")


def test_what_is_neither_here_nor_on_the_hub_is_an_error(monkeypatch):
    def refuse(*_):
        raise ConnectionError("Couldn't reach the Hub\nmore")

    monkeypatch.setattr(sources.HfApi, "dataset_info", refuse)
    with pytest.raises(InputError, match="runs/store on the hub is out of reach: Couldn't reach the Hub; check"):
        open_source("runs/store")
