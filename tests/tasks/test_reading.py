"""Rows are read alike from every kind of file, folder and the hub; what is broken is said in one line."""

import csv
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from interlat.errors import InputError
from interlat.tasks.reading import is_local, read_records, value_of

ROWS = [
    {"id": "a", "question": "1 + 1,\u2028und?", "answer": "2"},
    {"id": "b", "question": 'say "ü"\nzwei', "answer": "ü"},
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    "rows.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "data.json": lambda path, rows: path.write_text(json.dumps({"version": 1, "data": rows})),
    "rows.jsonl": lambda path, rows: path.write_bytes(lines_of(rows) + b"\n"),
    "marked.jsonl": lambda path, rows: path.write_bytes(b"\xef\xbb\xbf" + lines_of(rows)),
    "rows.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(lines_of(rows), mtime=0)),
    "rows.parquet": write_parquet,
    "rows.csv": write_csv,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, ROWS)
    rows, origin = read_records(str(path))
    assert rows == ROWS
    assert origin == {"data": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize("place", ["", "data", "main"])
@pytest.mark.parametrize("name", ["test.jsonl", "test.json", "test.parquet", "test-00000-of-00001.parquet", "test.csv"])
def test_a_folder_holds_a_file_for_each_split(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    write = WRITERS[f"rows{Path(name).suffix}"]
    write(tmp_path / place / name, ROWS)
    write(tmp_path / place / name.replace("test", "train"), ROWS[:1])
    assert read_records(str(tmp_path), "test", "main")[0] == ROWS
    assert read_records(str(tmp_path), "train", "main")[0] == ROWS[:1]


def test_the_folder_of_the_configuration_goes_first(tmp_path: Path) -> None:
    write_parquet(tmp_path / "main" / "test.parquet", ROWS)
    write_parquet(tmp_path / "test.parquet", ROWS[:1])
    assert read_records(str(tmp_path), "test", "main")[0] == ROWS
    assert read_records(str(tmp_path), "test")[0] == ROWS[:1]


def test_numbered_parts_are_one_split_and_hash_like_sha256sum(tmp_path: Path) -> None:
    names = ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]
    for name, row in zip(names, ROWS, strict=True):
        write_parquet(tmp_path / "data" / name, [row])
    rows, origin = read_records(str(tmp_path), "test")
    assert rows == ROWS
    hashes = [hashlib.sha256((tmp_path / "data" / name).read_bytes()).hexdigest() for name in names]
    listing = "".join(f"{digest}  data/{name}\n" for digest, name in zip(hashes, names, strict=True))
    assert origin["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    (tmp_path / "data" / names[0]).unlink()
    with pytest.raises(InputError, match="holds 1 of 2 parts of split 'test'"):
        read_records(str(tmp_path), "test")


def test_a_split_that_is_there_twice_or_not_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(lines_of(ROWS))
    for split in ("", "dev"):
        with pytest.raises(InputError, match=rf"no file for split '{split}'.*it holds test\.jsonl"):
            read_records(str(tmp_path), split)
    write_parquet(tmp_path / "test.parquet", ROWS)
    with pytest.raises(InputError, match=r"more than once \(test\.jsonl, test\.parquet\)"):
        read_records(str(tmp_path), "test")


def test_what_datasets_saved_is_read(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": saved.select([0]), "test": saved}).save_to_disk(str(tmp_path / "all"))
    rows, origin = read_records(str(tmp_path / "one"))
    assert rows == ROWS
    [file] = (tmp_path / "one").glob("*.arrow")
    assert origin["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "one" / "cache-1.arrow").touch()
    assert read_records(str(tmp_path / "one"))[1] == origin
    assert read_records(str(tmp_path / "all"), "test")[0] == ROWS
    assert read_records(str(tmp_path / "all"), "train")[0] == ROWS[:1]
    for split in ("", "dev"):
        with pytest.raises(InputError, match=f"no split '{split}'; choose one of test, train"):
            read_records(str(tmp_path / "all"), split)


def test_the_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    hashes = []
    for name, rows in (("a", ROWS), ("b", ROWS), ("c", ROWS[:1])):
        (tmp_path / f"{name}.jsonl").write_bytes(lines_of(rows))
        hashes.append(read_records(str(tmp_path / f"{name}.jsonl"))[1]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("data", ["nowhere.jsonl", "./nowhere", "/no/where", "some/thing.parquet", "~/nowhere"])
def test_a_path_to_nothing_is_no_hub_id(data: str) -> None:
    with pytest.raises(InputError, match=f"there is no file {data}; correct the path"):
        read_records(data)


def test_what_is_local(tmp_path: Path) -> None:
    assert is_local(str(tmp_path)) and is_local("a.csv") and is_local("../a")
    assert not is_local("openai/gsm8k") and not is_local("squad")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"a": 1}\n\n{"a": \n', r"x\.jsonl line 3 is no JSON"),
        ("x.json", b'[\n{"a": 1},\n{"a" 2}]', r"x\.json line 3 is no JSON"),
        ("x.jsonl", b'{"a": 1}\n[1]\n', r"x\.jsonl line 2 is \[1\], expected an object"),
        ("x.json", b'[{"a": 1}, "b"]', r'record 1 of .*x\.json is "b", expected an object'),
        ("x.json", b'{"a": [{}], "b": [{}]}', r"x\.json holds no list of records"),
        ("x.json", b'{"a": {"b": 1}}', r"x\.json holds no list of records"),
        ("x.json", b"7", r"x\.json holds no list of records"),
        ("x.jsonl", b'{"a": "\xff"}\n', r"cannot read .*x\.jsonl \(.*utf-8"),
        ("x.jsonl.gz", b'{"a": 1}\n', r"cannot read .*x\.jsonl\.gz \("),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], r"cannot read .*x\.jsonl\.gz \("),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0)[:10] + b"\xff" * 20, r"cannot read .*x\.jsonl\.gz \("),
        ("x.parquet", b"PAR1 and so on", r"cannot read .*x\.parquet \("),
        ("x.csv", b"a,b\n1,2\n1,2,3\n", r"x\.csv line 3 has not as many cells"),
        ("x.csv", b"a,b\n1\n", r"x\.csv line 2 has not as many cells"),
        ("x.csv", b'a,b\n1,"2\n', r"cannot read .*x\.csv \("),
        ("x.txt", b"{}", r"x\.txt is no data file, expected a name that ends in \.json"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_records(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_damaged_saved_folder_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    (tmp_path / "one" / "dataset_info.json").unlink()
    with pytest.raises(InputError, match=r"cannot read .*one"):
        read_records(str(tmp_path / "one"))


class Hub:
    """Stands in for the hub and notes what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[tuple[Any, ...]] = []
        self.resolved: list[tuple[Any, ...]] = []
        monkeypatch.setattr(datasets, "load_dataset", self.load_dataset)
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.dataset_info)

    def load_dataset(self, path: str, name: str | None, *, split: str, revision: str) -> datasets.Dataset:
        self.loaded.append((path, name, split, revision))
        return datasets.Dataset.from_list(ROWS)

    def dataset_info(self, repository: str, *, revision: str | None) -> huggingface_hub.DatasetInfo:
        self.resolved.append((repository, revision))
        return huggingface_hub.DatasetInfo(id=repository, sha=COMMIT)


def test_the_hub_is_read_at_the_commit_that_the_origin_names(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    assert read_records("owner/name", "test") == (ROWS, {"data": "owner/name", "revision": COMMIT})
    read_records("owner/name", "test", "main", "refs/convert")
    assert hub.resolved == [("owner/name", None), ("owner/name", "refs/convert")]
    assert hub.loaded == [("owner/name", None, "test", COMMIT), ("owner/name", "main", "test", COMMIT)]


def test_a_full_commit_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    commit = "f" * 40
    assert read_records("owner/name", "test", revision=commit)[1]["revision"] == commit
    assert hub.resolved == [] and hub.loaded == [("owner/name", None, "test", commit)]


def test_the_hub_needs_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    with pytest.raises(InputError, match="no split was named for the data set 'owner/name'"):
        read_records("owner/name")
    assert hub.loaded == []


@pytest.mark.parametrize(
    "error",
    [
        datasets.exceptions.DatasetNotFoundError("no such data set\nhere"),
        datasets.exceptions.DatasetGenerationError("broken"),
        ConnectionError("no network"),
        huggingface_hub.errors.OfflineModeIsEnabled("offline"),
        huggingface_hub.errors.HTTPError("no name service"),
        ValueError("Unknown split"),
        RuntimeError("Dataset scripts are no longer supported"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    Hub(monkeypatch)

    def refuse(*_: object, **__: object) -> None:
        raise error

    for owner, name in ((datasets, "load_dataset"), (huggingface_hub.HfApi, "dataset_info")):
        with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
            patch.setattr(owner, name, refuse)
            read_records("owner/name", "test", "main")
        message = str(caught.value)
        assert message.startswith("cannot read split 'test' of 'owner/name' (main) from the hub: ")
        assert str(error).split()[0] in message and "\n" not in message


def test_a_value_is_text(tmp_path: Path) -> None:
    assert value_of({"a": 1, "b": "x"}, "b", "record 0") == "x"
    assert value_of({"a": 1}, "a", "record 0") == "1"
    with pytest.raises(InputError, match="record 0 has no 'c'; its columns are none"):
        value_of({}, "c", "record 0")
