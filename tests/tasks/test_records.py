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
from interlat.tasks.records import RecordFields, is_local, lettered, load_records, read_rows, value_of

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
    rows, origin = read_rows(str(path))
    assert rows == ROWS
    assert origin == {"data": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize("place", ["", "data", "main"])
@pytest.mark.parametrize("name", ["test.jsonl", "test.json", "test.parquet", "test-00000-of-00001.parquet", "test.csv"])
def test_a_folder_holds_a_file_for_each_split(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    write = WRITERS[f"rows{Path(name).suffix}"]
    write(tmp_path / place / name, ROWS)
    write(tmp_path / place / name.replace("test", "train"), ROWS[:1])
    assert read_rows(str(tmp_path), "test", "main")[0] == ROWS
    assert read_rows(str(tmp_path), "train", "main")[0] == ROWS[:1]


def test_the_folder_of_the_configuration_goes_first(tmp_path: Path) -> None:
    write_parquet(tmp_path / "main" / "test.parquet", ROWS)
    write_parquet(tmp_path / "test.parquet", ROWS[:1])
    assert read_rows(str(tmp_path), "test", "main")[0] == ROWS
    assert read_rows(str(tmp_path), "test")[0] == ROWS[:1]


def test_numbered_parts_are_one_split_and_hash_like_sha256sum(tmp_path: Path) -> None:
    names = ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]
    for name, row in zip(names, ROWS, strict=True):
        write_parquet(tmp_path / "data" / name, [row])
    rows, origin = read_rows(str(tmp_path), "test")
    assert rows == ROWS
    hashes = [hashlib.sha256((tmp_path / "data" / name).read_bytes()).hexdigest() for name in names]
    listing = "".join(f"{digest}  data/{name}\n" for digest, name in zip(hashes, names, strict=True))
    assert origin["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    (tmp_path / "data" / names[0]).unlink()
    with pytest.raises(InputError, match="holds 1 of 2 parts of split 'test'"):
        read_rows(str(tmp_path), "test")


def test_a_split_that_is_there_twice_or_not_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(lines_of(ROWS))
    for split in ("", "dev"):
        with pytest.raises(InputError, match=rf"no file for split '{split}'.*it holds test\.jsonl"):
            read_rows(str(tmp_path), split)
    write_parquet(tmp_path / "test.parquet", ROWS)
    with pytest.raises(InputError, match=r"more than once \(test\.jsonl, test\.parquet\)"):
        read_rows(str(tmp_path), "test")


def test_what_datasets_saved_is_read(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": saved.select([0]), "test": saved}).save_to_disk(str(tmp_path / "all"))
    rows, origin = read_rows(str(tmp_path / "one"))
    assert rows == ROWS
    [file] = (tmp_path / "one").glob("*.arrow")
    assert origin["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "one" / "cache-1.arrow").touch()
    assert read_rows(str(tmp_path / "one"))[1] == origin
    assert read_rows(str(tmp_path / "all"), "test")[0] == ROWS
    assert read_rows(str(tmp_path / "all"), "train")[0] == ROWS[:1]
    for split in ("", "dev"):
        with pytest.raises(InputError, match=f"no split '{split}'; choose one of test, train"):
            read_rows(str(tmp_path / "all"), split)


def test_the_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    hashes = []
    for name, rows in (("a", ROWS), ("b", ROWS), ("c", ROWS[:1])):
        (tmp_path / f"{name}.jsonl").write_bytes(lines_of(rows))
        hashes.append(read_rows(str(tmp_path / f"{name}.jsonl"))[1]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("data", ["nowhere.jsonl", "./nowhere", "/no/where", "some/thing.parquet", "~/nowhere"])
def test_a_path_to_nothing_is_no_hub_id(data: str) -> None:
    with pytest.raises(InputError, match=f"there is no file {data}; correct the path"):
        read_rows(data)


def test_what_is_local(tmp_path: Path) -> None:
    assert is_local(str(tmp_path)) and is_local("a.csv") and is_local("../a")
    assert not is_local("openai/gsm8k") and not is_local("squad")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"a": 1}\n\n{"a": \n', r"x\.jsonl line 3 is no JSON"),
        ("x.json", b'[\n{"a": 1},\n{"a" 2}]', r"x\.json line 3 is no JSON"),
        ("x.jsonl", b'{"a": 1}\n[1]\n', r"x\.jsonl line 2 is \[1\], expected an object"),
        ("x.json", b'[{"a": 1}, "b"]', r'row 1 of .*x\.json is "b", expected an object'),
        ("x.json", b'{"a": [{}], "b": [{}]}', r"x\.json holds no list of rows"),
        ("x.json", b'{"a": {"b": 1}}', r"x\.json holds no list of rows"),
        ("x.json", b"7", r"x\.json holds no list of rows"),
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
        read_rows(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_damaged_saved_folder_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    (tmp_path / "one" / "dataset_info.json").unlink()
    with pytest.raises(InputError, match=r"cannot read .*one"):
        read_rows(str(tmp_path / "one"))


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
    assert read_rows("owner/name", "test") == (ROWS, {"data": "owner/name", "revision": COMMIT})
    read_rows("owner/name", "test", "main", "refs/convert")
    assert hub.resolved == [("owner/name", None), ("owner/name", "refs/convert")]
    assert hub.loaded == [("owner/name", None, "test", COMMIT), ("owner/name", "main", "test", COMMIT)]


def test_a_full_commit_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    commit = "f" * 40
    assert read_rows("owner/name", "test", revision=commit)[1]["revision"] == commit
    assert hub.resolved == [] and hub.loaded == [("owner/name", None, "test", commit)]


def test_the_hub_needs_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    with pytest.raises(InputError, match="no split was named for the data set 'owner/name'"):
        read_rows("owner/name")
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
            read_rows("owner/name", "test", "main")
        message = str(caught.value)
        assert message.startswith("cannot read split 'test' of 'owner/name' (main) from the hub: ")
        assert str(error).split()[0] in message and "\n" not in message


class TestLoadRecords:
    def load(self, tmp_path: Path, rows: list[dict[str, Any]], split: str = "", **fields: str) -> list[Any]:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(lines_of(rows))
        return list(load_records(str(path), split, RecordFields(**fields)).tasks)

    def test_columns_become_a_task_and_the_others_its_metadata(self, tmp_path: Path) -> None:
        row = {"key": 7, "ask": "Why?", "gold": 0.5, "topic": "life", "level": 3, "steps": ["a", {"b": None}]}
        [task] = self.load(tmp_path, [row], "dev", id="key", text="ask", answer="gold", task_type="topic")
        assert (task.id, task.text, task.answer, task.task_type, task.split) == ("7", "Why?", "0.5", "life", "dev")
        assert task.metadata == {"level": 3, "steps": ["a", {"b": None}]}

    def test_only_json_values_are_metadata(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.parquet"
        row = {"question": "?", "bytes": b"\x00", "nan": float("nan"), "many": [{"raw": b"\x00"}], "good": [1.5, True]}
        write_parquet(path, [row])
        [task] = load_records(str(path), "", RecordFields()).tasks
        assert task.metadata == {"good": [1.5, True]}
        json.dumps(task.metadata, allow_nan=False)

    def test_rows_without_ids_are_numbered(self, tmp_path: Path) -> None:
        rows = [{"question": "a"}, {"question": "b"}]
        assert [task.id for task in self.load(tmp_path, rows)] == ["0", "1"]
        assert [task.id for task in self.load(tmp_path, rows, "test")] == ["test/0", "test/1"]

    def test_numbers_do_not_depend_on_the_chosen_split_of_one_file(self, tmp_path: Path) -> None:
        rows = [{"question": text, "part": part} for text, part in (("a", "x"), ("b", "y"), ("c", "x"))]
        whole = {task.text: task for task in self.load(tmp_path, rows)}
        chosen = self.load_part(tmp_path, rows, "x")
        assert [(task.id, task.text, task.split) for task in chosen] == [("0", "a", "x"), ("2", "c", "x")]
        assert all(whole[task.text].id == task.id for task in chosen)
        assert [task.split for task in self.load_part(tmp_path, rows, "")] == ["x", "y", "x"]
        with pytest.raises(InputError, match="has no tasks"):
            self.load_part(tmp_path, rows, "z")

    def load_part(self, tmp_path: Path, rows: list[dict[str, Any]], part: str) -> list[Any]:
        path = tmp_path / "parts.jsonl"
        path.write_bytes(lines_of(rows))
        return list(load_records(str(path), part, RecordFields(split="part")).tasks)

    def test_an_answer_may_be_missing(self, tmp_path: Path) -> None:
        rows = [{"question": "a"}, {"question": "b", "answer": None}, {"question": "c", "answer": ["x", "y"]}]
        assert [task.answer for task in self.load(tmp_path, rows)] == ["", "", '["x", "y"]']

    def test_a_missing_column_is_named_with_those_that_are_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"row 1 of .* has no 'question'; its columns are prompt, answer"):
            self.load(tmp_path, [{"question": "a"}, {"prompt": "b", "answer": "c"}])
        with pytest.raises(InputError, match="has no 'key'; its columns are question"):
            self.load(tmp_path, [{"question": "a"}], id="key")
        with pytest.raises(InputError, match=r"row 1 of .* has no 'id'"):
            self.load(tmp_path, [{"id": 1, "question": "a"}, {"question": "b"}])
        with pytest.raises(InputError, match="has no 'topic'"):
            self.load(tmp_path, [{"question": "a"}], task_type="topic")

    def test_ids_must_differ(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="two tasks with the id '1'"):
            self.load(tmp_path, [{"id": 1, "question": "a"}, {"id": "1", "question": "b"}])

    def test_the_hub_is_asked_for_what_was_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hub = Hub(monkeypatch)
        found = load_records("owner/name", "test", RecordFields(), name="hard", revision="v2")
        assert [task.id for task in found.tasks] == ["a", "b"]
        assert found.origin == {"data": "owner/name", "revision": COMMIT}
        assert hub.resolved == [("owner/name", "v2")]
        assert hub.loaded == [("owner/name", "hard", "test", COMMIT)]


def test_a_value_is_text(tmp_path: Path) -> None:
    assert value_of({"a": 1, "b": "x"}, "b", "row 0") == "x"
    assert value_of({"a": 1}, "a", "row 0") == "1"
    with pytest.raises(InputError, match="row 0 has no 'c'; its columns are none"):
        value_of({}, "c", "row 0")


def options_of(tmp_path: Path, row: dict[str, Any], **fields: Any) -> Any:
    (tmp_path / "x.json").write_text(json.dumps([row]))
    [task] = load_records(str(tmp_path / "x.json"), "", RecordFields(grader="choice", **fields)).tasks
    return task


@pytest.mark.parametrize("answer", ["B", "b", "two", 1])
def test_a_right_option_is_a_label_a_text_or_a_number(tmp_path: Path, answer: Any) -> None:
    task = options_of(tmp_path, {"question": "How many?", "answer": answer, "o": ["one", "two"]}, options=("o",))
    assert (task.answer, task.options, task.grader) == ("B", {"A": "one", "B": "two"}, "choice")
    assert task.text == "How many?\n\nA: one\nB: two" and task.metadata == {}


def test_options_may_have_labels_or_a_column_each(tmp_path: Path) -> None:
    row = {"question": "?", "answer": "2", "o": {"1": "one", "2": "two"}, "p": "one", "q": "2"}
    assert options_of(tmp_path, row, options=("o",)).answer == "2"
    assert options_of(tmp_path, row, options=("p", "q")).answer == "B"
    assert options_of(tmp_path, row | {"answer": ""}, options=("o",)).answer == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "three"}, "has the answer 'three', which is none of its options A, B"),
        ({"answer": 2}, "has the answer '2', which is none of its options"),
        ({"answer": "A", "o": "one, two"}, "no list and no object of options in 'o'"),
        ({"answer": "same", "o": ["same", "same"]}, "none of its options"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        options_of(tmp_path, {"question": "?", "o": ["one", "two"], **row}, options=("o",))


def test_programs_bring_their_tests(tmp_path: Path) -> None:
    row = {"question": "Write f.", "answer": "def f(): return 1", "test": "assert f() == 1", "entry_point": "f"}
    (tmp_path / "x.json").write_text(json.dumps([row, row | {"entry_point": ["f", "g"]}]))
    one, two = load_records(str(tmp_path / "x.json"), "", RecordFields(grader="code")).tasks
    assert one.metadata["tests"] == "assert f() == 1" and one.metadata["functions"] == ["f"]
    assert two.metadata["functions"] == ["f", "g"] and {one.grader, two.grader} == {"code"}


def test_options_and_the_grader_of_options_belong_together() -> None:
    for fields in ({"grader": "choice"}, {"options": ("o",)}):
        with pytest.raises(InputError, match="name columns with options where the grader is choice"):
            RecordFields(**fields)  # type: ignore[arg-type]


def answers_of(tmp_path: Path, rows: list[tuple[Any, list[str]]]) -> list[tuple[str, str]]:
    """Label and what else it could be, of answers and their options in one file."""
    written = [{"question": "?", "answer": answer, "o": options} for answer, options in rows]
    (tmp_path / "x.json").write_text(json.dumps(written))
    tasks = load_records(str(tmp_path / "x.json"), "", RecordFields(grader="choice", options=("o",))).tasks
    return [(task.answer, task.metadata.get("ambiguous_answer", "")) for task in tasks]


NUMBERS, TOWNS = ["4", "2", "8", "16"], ["Rome", "Paris", "Oslo", "Bern"]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        # A whole number counts the options, also where one of them reads the same.
        ([(2, NUMBERS)], [("C", "")]),
        ([(3, ["1", "3", "0", "2"])], [("D", "")]),
        ([(1.0, TOWNS)], [("B", "")]),
        ([(True, ["false", "true"])], [("B", "")]),
        # So do digits where they are neither a label nor a text.
        ([("1", TOWNS)], [("B", "")]),
        ([("1.0", TOWNS)], [("B", "")]),
        ([("0", TOWNS)], [("A", "")]),
        # Text or number: the text, and a mark that it may be misread.
        ([("2", NUMBERS)], [("B", "C")]),
        ([("16", NUMBERS)], [("D", "")]),
        # Other rows may decide it.
        ([("2", NUMBERS), ("1", TOWNS)], [("C", ""), ("B", "")]),
        ([("2", NUMBERS), ("16", NUMBERS)], [("B", ""), ("D", "")]),
        # The same of labels and texts: blood groups.
        ([("A", ["O", "A", "B", "AB"])], [("A", "B")]),
        ([("A", ["O", "A", "B", "AB"]), ("AB", ["O", "A", "B", "AB"])], [("B", ""), ("D", "")]),
        # No reading fits all rows.
        ([("B", TOWNS), ("Oslo", TOWNS), (3, TOWNS), ("", TOWNS)], [("B", ""), ("C", ""), ("D", ""), ("", "")]),
    ],
)
def test_the_reading_that_fits_all_rows_goes_first(
    tmp_path: Path, rows: list[tuple[Any, list[str]]], found: list[tuple[str, str]]
) -> None:
    assert answers_of(tmp_path, rows) == found


def test_digits_in_a_table_are_the_number_of_an_option(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "q.csv", [{"prompt": "Capital of France?", **dict(zip("abcd", TOWNS, strict=True)), "key": "1"}]
    )
    fields = RecordFields(text="prompt", answer="key", options=("a", "b", "c", "d"), grader="choice")
    [task] = load_records(str(tmp_path / "q.csv"), "", fields).tasks
    assert (task.answer, task.options["B"]) == ("B", "Paris")


@pytest.mark.parametrize("answer", [4, -1, "4", 1.5, "1.5"])
def test_a_number_without_an_option_is_refused(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(InputError, match=f"answer '{answer}'.* no number from 0 to 3"):
        answers_of(tmp_path, [(answer, NUMBERS if answer == 4 else TOWNS)])


def test_letters_go_on_behind_z() -> None:
    labels = list(lettered([str(number) for number in range(730)]))
    assert labels[:2] + labels[24:29] + labels[701:704] == ["A", "B", "Y", "Z", "AA", "AB", "AC", "ZZ", "AAA", "AAB"]
    assert len(set(labels)) == 730 and lettered([]) == {}
    assert list(lettered(["x"] * 26))[-1] == "Z"
