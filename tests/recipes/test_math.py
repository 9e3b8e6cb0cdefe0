"""The recipe of table 2: the commands of its README, with tiny models, few steps and stand-in problems."""

import json
import re
from pathlib import Path

import pytest

from interlat.cli.main import main
from recipe_commands import commands_in

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "math"
SHORT = ["--schedule.steps", "2", "--schedule.batch-size", "2", "--schedule.micro-batch-size", "1"]
SHORT += ["--schedule.warmup-steps", "1", "--schedule.eval-every", "1"]
SMALL = {
    "collect": ["--sampling.max-new-tokens", "12", "--dtype", "float32", "--store-dtype", "float32"],
    "train": [*SHORT, "--validation-share", "0.2", "--precision", "float32"],
    "compress": [*SHORT, "--validation-share", "0.2", "--precision", "float32"],
    "evaluate": ["--max-plan-tokens", "12", "--max-new-tokens", "4", "--dtype", "float32", "--limit", "6"],
}
"""What makes a command of the recipe small, by its first word."""


def stand_in(path, count):
    """Problems in the form of MATH, two of each level."""
    rows = [
        {
            "problem": f"What is {n} + {n}?",
            "level": f"Level {1 + n // 2 % 5}",
            "type": "Algebra",
            "solution": f"It is $\\boxed{{{2 * n}}}$.",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_commands_of_the_readme_make_every_row_of_the_table(save_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = stand_in(tmp_path / "math.jsonl", 20)
    model = str(save_model("base", positions=8192))
    readme = (FOLDER / "README.md").read_text()
    commands = [words for words in commands_in(readme) if "--config" in words]
    assert [words[0] for words in commands[:4]] == ["collect", "train", "compress", "evaluate"] and len(commands) == 9
    names = {"collect": ["--model"], "train": ["--start"], "compress": ["--sender"], "evaluate": ["--sender"]}
    for words in commands:
        words[words.index("--config") + 1] = str(ROOT / words[words.index("--config") + 1])
        chosen = [flag for flag in names[words[0]] if flag not in words]
        if words[0] == "train" and "baseline.yaml" not in words[3]:
            chosen.append("--sender")
        given = {"collect": ["--source.data", data], "evaluate": ["--data", data]}.get(words[0], [])
        code = main([*words, *SMALL[words[0]], *given, *(word for flag in chosen for word in (flag, model))])
        assert code == 0, (words, capsys.readouterr().err)
    for run, arm in re.findall(r"\| `(evaluation[a-z0-9-]*)` \| `([^`]+)` \|", readme):
        rows = [json.loads(line) for line in Path(f"runs/math/{run}/summary.jsonl").read_text().splitlines()]
        groups = {row["group"] for row in rows if row["kind"] == "arm" and row["variant"] == arm}
        assert len(groups) > 2 and "all" in groups, (run, arm)
