"""Any records are tasks, by a mapping of their columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from interlat.errors import InputError
from interlat.tasks import records
from interlat.tasks.graders.verdict import Grader, Verdict
from interlat.tasks.grading import GRADERS
from interlat.tasks.records import RecordFields, load_records


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


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
        row: dict[str, Any] = {
            "question": "?",
            "bytes": b"\x00",
            "nan": float("nan"),
            "many": [{"raw": b"\x00"}],
            "good": [1.5, True],
        }
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
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
        with pytest.raises(InputError, match=r"record 1 of .* has no 'question'; its columns are prompt, answer"):
            self.load(tmp_path, [{"question": "a"}, {"prompt": "b", "answer": "c"}])
        with pytest.raises(InputError, match="has no 'key'; its columns are question"):
            self.load(tmp_path, [{"question": "a"}], id="key")
        with pytest.raises(InputError, match=r"record 1 of .* has no 'id'"):
            self.load(tmp_path, [{"id": 1, "question": "a"}, {"question": "b"}])
        with pytest.raises(InputError, match="has no 'topic'"):
            self.load(tmp_path, [{"question": "a"}], task_type="topic")

    def test_ids_must_differ(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="two tasks with the id '1'"):
            self.load(tmp_path, [{"id": 1, "question": "a"}, {"id": "1", "question": "b"}])

    def test_the_hub_is_asked_for_what_was_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def read_records(*place: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
            asked.append(place)
            return [{"id": "a", "question": "?"}], {"data": "owner/name", "revision": "abc"}

        monkeypatch.setattr(records, "read_records", read_records)
        found = load_records("owner/name", "test", RecordFields(), name="hard", revision="v2")
        assert [task.id for task in found.tasks] == ["a"]
        assert found.origin == {"data": "owner/name", "revision": "abc"}
        assert asked == [("owner/name", "test", "hard", "v2")]

    def test_notes_are_the_sender_s_alone(self, tmp_path: Path) -> None:
        rows = [{"question": "a", "facts": "b", "notes": "c"}, {"question": "d"}, {"question": "e", "facts": [1]}]
        tasks = self.load(tmp_path, rows, notes="facts")
        assert [(task.text, task.notes, task.told) for task in tasks] == [
            ("a", "b", "b\n\na"),
            ("d", "", "d"),
            ("e", "[1]", "[1]\n\ne"),
        ]
        assert tasks[0].metadata == {"notes": "c"}
        assert [task.id for task in tasks] == [task.id for task in self.load(tmp_path, rows)]
        assert {task.notes for task in self.load(tmp_path, rows)} == {""}
        with pytest.raises(InputError, match="has no 'fact'; its columns are question, facts, notes"):
            self.load(tmp_path, rows, notes="fact")


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
    (tmp_path / "q.csv").write_text(f"prompt,a,b,c,d,key\nCapital of France?,{','.join(TOWNS)},1\n")
    fields = RecordFields(text="prompt", answer="key", options=("a", "b", "c", "d"), grader="choice")
    [task] = load_records(str(tmp_path / "q.csv"), "", fields).tasks
    assert (task.answer, task.options["B"]) == ("B", "Paris")


@pytest.mark.parametrize("answer", [4, -1, "4", 1.5, "1.5"])
def test_a_number_without_an_option_is_refused(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(InputError, match=f"answer '{answer}'.* no number from 0 to 3"):
        answers_of(tmp_path, [(answer, NUMBERS if answer == 4 else TOWNS)])


def test_a_grader_of_another_package_judges_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Echo(Grader):
        def grade(self, reply: str, task: Any, limits: Any = None) -> Verdict:
            return Verdict(reply == task.answer, "exact")

        def extracted(self, reply: str, task: Any) -> str | None:
            return reply

        def corruptions(self, task: Any) -> list[str]:
            return ["?"]

    with pytest.raises(InputError, match=r"grader is 'echo', expected one of mathematics, choice, code"):
        RecordFields(grader="echo")
    monkeypatch.setattr(GRADERS, "_places", {**GRADERS._places})
    GRADERS.add("echo", Echo())
    (tmp_path / "x.json").write_text('[{"question": "?", "answer": "!"}]')
    [task] = load_records(str(tmp_path / "x.json"), "", RecordFields(grader="echo")).tasks
    assert task.grader == "echo"
