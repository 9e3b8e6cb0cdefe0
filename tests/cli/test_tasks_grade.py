import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from interlat.cli.main import main

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
