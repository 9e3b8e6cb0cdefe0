"""The recipe of the paper: the commands of its README, with tiny models, few steps and authored games."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from game_fixtures import published_conversations
from interlat.cli.main import COMMANDS, main, parse
from interlat.experiments.household.author import AuthorOptions, author_games
from recipe_commands import commands_in

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "interlat"
SHORT = ["--schedule.steps", "2", "--schedule.batch-size", "2", "--schedule.micro-batch-size", "1"]
SHORT += ["--schedule.warmup-steps", "1", "--schedule.eval-every", "1", "--precision", "float32"]
SMALL = {
    "collect": ["--sampling.max-new-tokens", "12", "--dtype", "float32", "--store-dtype", "float32"],
    "train": [*SHORT, "--validation-share", "0.2"],
    "compress": [*SHORT, "--validation-share", "0.2"],
    "evaluate": ["--options.steps", "2", "--max-plan-tokens", "12", "--max-new-tokens", "4", "--dtype", "float32"],
}
"""What makes a command of the recipe small, by its first word."""


def lines_of(run, name="results.jsonl"):
    return [json.loads(line) for line in (Path("runs/interlat") / run / name).read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_commands_of_the_readme_make_every_row_of_the_tables(
    small_games, save_model, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "alfworld"
    for split, count in (("train", 6), ("seen", 2), ("unseen", 2)):
        small = AuthorOptions(
            maximum_receptacles=12, density=0.2, task_types=("pick_and_place_simple", "look_at_obj_in_light")
        )
        list(author_games(root, count, split, 0, small))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALFWORLD_DATA", str(root))
    Path("alfworld_sft.json").write_text(json.dumps(published_conversations(root)))
    model = str(save_model("base", positions=8192))
    commands = commands_in((FOLDER / "README.md").read_text())
    assert [words[0] for words in commands[:4]] == ["collect", "train", "compress", "evaluate"]
    assert len(commands) == 9
    names = {"collect": ["--model"], "train": ["--start"], "compress": ["--sender"], "evaluate": ["--sender"]}
    for words in commands:
        words[words.index("--config") + 1] = str(ROOT / words[words.index("--config") + 1])
        chosen = [flag for flag in names[words[0]] if flag not in words]
        if words[0] == "train" and "baseline.yaml" not in words[3]:
            chosen.append("--sender")
        code = main([*words, *SMALL[words[0]], *(word for flag in chosen for word in (flag, model))])
        assert code == 0, (words, capsys.readouterr().err)
    arms = {row["variant"] for row in lines_of("evaluation", "summary.jsonl") if row["kind"] == "arm"}
    readme = (FOLDER / "README.md").read_text()
    rows = re.findall(r"\| `(evaluation[a-z-]*)` \| `([^`]+)` \|", readme)
    assert len(rows) == 12 and all(arm in arms for run, arm in rows if run == "evaluation")
    shares = re.findall(r"`(hidden/(?:keep_first|first_rows):[\d.]+)`", readme)
    assert len(shares) == 15 and set(shares) < arms
    for run, arm in {("evaluation-text", "text"), ("evaluation-none", "none"), ("evaluation-8", "thought:8")}:
        found = [line for line in lines_of(run) if line["variant"] == arm]
        assert {line["split"] for line in found} == {"valid_seen", "valid_unseen"} and len(found) == 4
    for line in lines_of("evaluation"):
        assert not line["failure"] and line["steps"] == 2 and line["max_steps"] == 2
    latents = {(line["item"], line["variant"]): line["latents"] for line in lines_of("evaluation")}
    for item in {item for item, _ in latents}:
        whole = latents[item, "hidden"]
        assert whole > 0 and latents[item, "none"] == 0
        assert latents[item, "hidden/first_rows:8"] == min(8, whole)
        assert latents[item, "hidden/keep_first:0.5"] == math.ceil(whole / 2)


def test_the_script_runs_what_the_commands_take(tmp_path):
    recorder = tmp_path / "recorder.py"
    recorder.write_text("import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    ended = subprocess.run(
        ["bash", str(FOLDER / "reproduce.sh")],
        env={"INTERLAT": f"{sys.executable} {recorder}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    called = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(called) == 4 + 5 + 3 * 8
    outputs = []
    for words in called:
        words[words.index("--config") + 1] = str(ROOT / words[words.index("--config") + 1])
        count = 2 if words[0] == "train" else 1
        parsed = parse(COMMANDS[".".join(words[:count])], words[count:], " ".join(words[:count]))
        outputs.append(parsed.output)
    assert len(set(outputs)) == len(outputs)
