import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from hub_rows import HUB_ROWS
from interlat.cli.main import main
from interlat.tasks.benchmarks import BENCHMARKS


def rows(path, name):
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS[name]))
    return str(path)


def test_all_benchmarks_are_listed(capsys):
    assert main(["tasks", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in BENCHMARKS.names()) and max(map(len, shown.splitlines())) <= 80
    assert main(["tasks", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["name"]: one["grader"] for one in listed}["mbppplus"] == "code"


def test_tasks_are_shown_as_an_agent_sees_them(tmp_path, capsys):
    assert main(["tasks", "show", "arc-easy", "--file", rows(tmp_path / "x.jsonl", "arc_easy"), "--count", "1"]) == 0
    shown = capsys.readouterr()
    assert "A: " in shown.out and "End with the label" in shown.out and "answer: " in shown.out
    assert "2 tasks; data" in shown.err and "sha256" in shown.err


def test_a_data_set_that_can_be_graded_is_said_to_be_fine(tmp_path, capsys):
    assert main(["tasks", "verify", "GSM8K", "--file", rows(tmp_path / "x.jsonl", "gsm8k"), "--json"]) == 0
    shown = capsys.readouterr()
    (line,) = map(json.loads, shown.out.splitlines())
    assert (line["items"], line["references_accepted"], line["corrupted_rejected"]) == (2, 2, 2)
    assert len(line["sha256"]) == 64 and line["how"] == {"exact": 2}
    assert "2 answers accepted (2 exact), 2 corrupted ones rejected" in " ".join(shown.err.split())


def test_a_data_set_that_cannot_be_graded_ends_with_1_and_names_the_tasks(tmp_path, capsys):
    broken = HUB_ROWS["humaneval"][1] | {"test": "def check(candidate):\n    assert candidate([1]) == 2\n"}
    lax = HUB_ROWS["humaneval"][1] | {"test": "def check(candidate):\n    candidate([1])\n"}
    (tmp_path / "x.jsonl").write_text(json.dumps(broken) + "\n" + json.dumps(lax) + "\n")
    assert main(["tasks", "verify", "humaneval", "--file", str(tmp_path / "x.jsonl"), "--json"]) == 1
    shown = capsys.readouterr()
    *failed, last = map(json.loads, shown.out.splitlines())
    assert [one["task"]["id"] for one in failed] == ["humaneval/test/0", "humaneval/test/1"]
    assert (last["items"], last["references_accepted"], last["corrupted_rejected"]) == (2, 1, 1)
    assert "seccomp" in last["isolation"]
    assert "refused humaneval/test/0" in " ".join(shown.err.split()) and "accepted humaneval/test/1" in shown.err


def test_any_file_is_verified_by_a_mapping(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("q,right,one,two\nWhich?,b,a,b\nWhat?,one,one,2\n")
    (tmp_path / "mine.yaml").write_text(
        f"kind: records\ndata: {tmp_path / 'x.csv'}\n"
        "fields: {text: q, answer: right, options: [one, two], grader: choice}\n"
    )
    assert main(["tasks", "verify", str(tmp_path / "mine.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["references_accepted"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no benchmark 'nothing'; take one of gsm8k"),
        (["gsm8k", "--file", "no.jsonl"], "there is no file no.jsonl"),
        (["mine.yaml", "--file", "x"], "mine.yaml says where its tasks are"),
        (["mine.yaml"], "there is no configuration file mine.yaml"),
    ],
)
def test_bad_input_is_one_line(words, said, capsys):
    assert main(["tasks", "verify", *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_verify_names_answers_that_could_be_read_otherwise(tmp_path, capsys):
    """A text of one option and the number of another: the guide says that the text counts."""
    (tmp_path / "x.csv").write_text("question,a,b,c,d,answer\n2*4=?,4,2,8,16,2\n1+1=?,0,1,2,3,2\n")
    fields = "{options: [a, b, c, d], grader: choice}"
    (tmp_path / "mine.yaml").write_text(f"kind: records\ndata: {tmp_path / 'x.csv'}\nfields: {fields}\n")
    assert main(["tasks", "verify", str(tmp_path / "mine.yaml"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unsure"] == 1
    assert "unsure   0: B is read as its answer; it could also be C" in captured.err


CASES = Path(__file__).parents[1] / "tasks" / "graders" / "mathematics_cases.jsonl"


SHARED_CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "graders.jsonl"


class Standard:
    """Standard input as a pipe gives it."""

    def __init__(self, data):
        self.buffer = io.BytesIO(data)


def test_answers_are_graded_line_by_line(tmp_path, capsys, monkeypatch):
    lines = CASES.read_bytes().splitlines(keepends=True)[:40]
    (tmp_path / "x.jsonl").write_bytes(b"".join(lines))
    assert main(["tasks", "grade", str(tmp_path / "x.jsonl"), "--json"]) == 0
    shown = capsys.readouterr()
    graded = [json.loads(line) for line in shown.out.splitlines()]
    cases = [json.loads(line) for line in lines]
    assert [(one["id"], one["correct"]) for one in graded] == [(case["id"], case["expected"]) for case in cases]
    assert all({"id", "correct", "how", "extracted"} == one.keys() for one in graded)
    right = sum(case["expected"] for case in cases)
    assert f"40 answers: {right} right, {40 - right} wrong" in shown.err
    monkeypatch.setattr("sys.stdin", Standard(b"".join(lines)))
    assert main(["tasks", "grade", "-", "--json"]) == 0
    assert capsys.readouterr().out == shown.out


def test_bad_lines_end_with_1_and_people_get_a_table_of_80_columns(tmp_path, capsys):
    long = {"id": "\u6570" * 30, "kind": "mathematics", "gold": "7", "answer": "\\boxed{" + "\u6570\n" * 60 + "}"}
    half = b'{"id": "h", "kind": "mathematics", "gold": "7", "answer": "\\\\boxed{\\ud83d7}"}'
    (tmp_path / "x.jsonl").write_bytes(json.dumps(long).encode() + b"\n\n" + half + b"\nnonsense\n")
    assert main(["tasks", "grade", str(tmp_path / "x.jsonl")]) == 1
    shown = capsys.readouterr()
    header, first, second, bad = shown.out.splitlines()
    assert header.split() == ["id", "answer", "how", "extracted"]
    assert all(cell_len(line) <= 80 for line in (header, first, second)) and " wrong " in first
    assert "error" in bad and "line 4: this is no JSON" in bad
    assert "3 answers: 0 right, 2 wrong" in shown.err and "1 could not be graded" in shown.err


@pytest.mark.skipif(not SHARED_CASES.exists(), reason="the shared cases are not on this machine")
def test_the_shared_cases_pass_through_the_command(tmp_path, capsys):
    assert main(["tasks", "grade", str(SHARED_CASES), "--json"]) == 0
    graded = {one["id"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    cases = [json.loads(line) for line in SHARED_CASES.read_text().splitlines()]
    assert list(graded) == [case["id"] for case in cases]
    assert len(cases) == 79
    assert [case for case in cases if graded[case["id"]]["correct"] is not case["expected"]] == []


def test_a_file_of_answers_that_is_not_there(capsys):
    assert main(["tasks", "grade", "no.jsonl"]) == 2
    shown = capsys.readouterr()
    assert "there is no file no.jsonl" in shown.err and shown.out == "" and shown.err.count("\n") == 1
