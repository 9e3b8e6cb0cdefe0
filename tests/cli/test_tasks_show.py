import json

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
