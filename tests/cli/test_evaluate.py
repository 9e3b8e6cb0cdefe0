import json

import pytest
import yaml

from interlat.cli.evaluate import EvaluateCommand
from interlat.cli.main import main, parse
from interlat.experiments.household.commands.evaluate import Evaluate as EvaluateGames


@pytest.fixture
def words(pair, tmp_path):
    rows = [{"id": str(n), "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(3)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "evaluate", "--sender", str(pair["sender"]), "--receiver", str(pair["reader"]), "--environment", "records",
        "--data", str(tmp_path / "sums.jsonl"), "--channels", "none", "text", "hidden", "thought:2",
        "--controls", "all", "--max-plan-tokens", "6", "--max-new-tokens", "4", "--dtype", "float32",
        "--output", str(tmp_path / "run"),
    ]  # fmt: skip


def test_a_pair_is_evaluated_and_reported(words, tmp_path, capsys):
    assert main([*words, "--json"]) == 0
    out = capsys.readouterr()
    lines = [json.loads(line) for line in out.out.splitlines()]
    assert {line["channel"] for line in lines} == {"none", "text", "hidden", "thought:2"}
    assert {line["control"] for line in lines} >= {"", "cross_task", "zeros", "shuffled_words", "random_rotation"}
    assert "hidden/cross_task" in out.err and max(map(len, out.err.splitlines()[1:-1])) <= 80
    assert (tmp_path / "run" / "summary.md").exists() and (tmp_path / "run" / "config.yaml").exists()
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["channels"][2] == "hidden"
    before = (tmp_path / "run" / "results.jsonl").read_text()
    assert main([*words, "--json"]) == 0 and (tmp_path / "run" / "results.jsonl").read_text() == before
    assert capsys.readouterr().out == out.out


def test_a_wrong_pair_is_one_line_and_leaves_nothing(words, pair, tmp_path, capsys):
    words[words.index("--sender") + 1] = str(pair["words"])
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: hidden from") and "weights" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_loses_and_doubles_nothing(pair, tmp_path, filling_disk, capsys):
    disk, make_room = filling_disk

    def words(folder):
        return [
            "evaluate", "--sender", str(pair["words"]), "--receiver", str(pair["words"]), "--environment", "arithmetic",
            "--count", "60", "--channels", "none", "text", "--max-plan-tokens", "20", "--max-new-tokens", "20",
            "--dtype", "float32", "--batch-size", "1", "--inspected", "0", "--output", str(folder),
        ]  # fmt: skip

    def answers(folder):
        lines = [json.loads(line) for path in folder.glob("results*.jsonl") for line in path.open()]
        costs = dict.fromkeys(("seconds", "peak_memory_bytes", "agents"))
        found = {(one["variant"], one["item"]): {**one, **costs} for one in lines}
        assert len(found) == len(lines) == 120, "none lost, none doubled"
        return found

    assert main(words(tmp_path / "alone")) == 0
    capsys.readouterr()
    assert main(words(disk / "run")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: cannot write") and "No space left on device; free some space" in error
    begun = sum(line.endswith("\n") for line in (disk / "run" / "results.jsonl").open())
    assert 0 < begun < 120
    make_room()
    assert main(words(disk / "run")) == 0
    assert answers(disk / "run") == answers(tmp_path / "alone")


def test_settings_of_the_first_edition_play_household_games(tmp_path):
    settings = {"checkpoints": dict.fromkeys(("scout", "none", "text", "latent"), "x"), "output": "o"}
    old = tmp_path / "old.yaml"
    old.write_text(yaml.safe_dump({"episodes": ["seen.jsonl"], "games": 5, "settings": settings}))
    for words in (["--config", str(old)], ["--config", str(old), "--settings.output", "elsewhere"]):
        config = parse(EvaluateCommand, words)
        assert isinstance(config, EvaluateGames) and config.limit == 5
    assert isinstance(
        parse(EvaluateCommand, ["--sender", "a", "--environment", "gsm8k", "--output", "o"]), EvaluateCommand
    )


def test_items_that_failed_are_exit_code_1(words, tmp_path):
    rows = [
        {"id": "long", "question": "drawer " * 300, "answer": "1"},
        {"id": "short", "question": "1?", "answer": "1"},
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--channels", "none", "--max-new-tokens", "4", "--dtype", "float32", "--output", str(tmp_path / "run")]
    assert main([*words[: words.index("--channels")], *flags]) == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {line["item"]: bool(line["failure"]) for line in lines} == {"long": True, "short": False}
