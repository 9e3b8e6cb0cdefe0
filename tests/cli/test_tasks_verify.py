import json

import pytest

from hub_rows import HUB_ROWS
from interlat.cli.main import main


def rows(path, name):
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS[name]))
    return str(path)


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
