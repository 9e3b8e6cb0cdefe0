import json
import os
import subprocess
import sys

import pytest
import yaml

from interlat.agents.sources import TaskSource
from interlat.cli.main import COMMANDS, main, parse
from interlat.config import write_config
from interlat.engine.template import TemplateOptions
from interlat.errors import InterlatError, StorageError
from interlat.evaluation.teams import EvaluateTeams, evaluate_teams
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.collect_trajectories import CollectTrajectories, collect_trajectories
from interlat.experiments.household.commands.collect import TrainScoutCommand
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold, evaluate_household
from interlat.experiments.household.latency import MeasureLatency, measure_latency
from interlat.experiments.household.train_scout import TrainScout, train_scout
from interlat.files import locked
from interlat.training.actor import train_actor
from interlat.training.compression import compress
from interlat.training.preference import train_preference
from interlat.training.settings import Compress, TrainActor, TrainPreference


def test_every_command_can_be_imported_and_says_what_its_fields_mean(capsys):
    for command in COMMANDS.names():
        with pytest.raises(SystemExit) as stop:
            main([*command.split("."), "--help"])
        assert stop.value.code == 0
        assert "--" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "unknown command 'fly'"),
        (["evaluat", "--output", "x"], "did you mean 'evaluate'"),
        (["store", "inf", "x"], "did you mean 'store info'"),
        (["demo", "--games", "1"], "at least 2"),
        (["demo", "--variants", "telepathy", "--games", "2"], "unknown variant 'telepathy'"),
        (["worlds", "make", "alfworld", "--output", "x", "--games", "1", "--split", "dev"], "train, seen, unseen"),
        (["train", "scout", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["demo", "--config"], "--config needs"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "bad input left something behind"


def test_usage_and_version(capsys):
    assert main([]) == 0
    assert "worlds make alfworld" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


HEAVY = ("torch", "transformers", "pyarrow", "matplotlib", "datasets")
QUICK = f"""
import contextlib, json, os, sys
from interlat.cli.main import COMMANDS, main
words, found = json.loads(sys.argv[1]), []
for one in words:
    with contextlib.redirect_stdout(open(os.devnull, "w")), contextlib.redirect_stderr(open(os.devnull, "w")):
        try:
            code = main(one)
        except SystemExit as stop:
            code = stop.code
    heavy = [name for name in {HEAVY} if name in sys.modules]
    found.append((code, heavy))
    if heavy:
        break
print(json.dumps(found))
"""


def quick(lines, tmp_path):
    """(exit code, heavy packages that are imported by then) of each command line, in one process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", QUICK, json.dumps(lines)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    return json.loads(done.stdout)


def test_help_of_every_command_imports_no_torch(tmp_path):
    lines = [[], ["store"], ["tasks", "--help"], *([*name.split("."), "--help"] for name in COMMANDS.names())]
    assert quick(lines, tmp_path) == [[0, []]] * len(lines)


def test_a_bad_call_of_every_command_imports_no_torch(tmp_path):
    for name, text in (("key", "nonsense: 1"), ("yaml", "a: ["), ("list", "- {a: 1}")):
        (tmp_path / f"{name}.yaml").write_text(text)
    lines = []
    for name in COMMANDS.names():
        command = name.split(".")
        lines += [[*command, "--nonsense"], [*command, "--config", "none.yaml"]]
        lines += [[*command, "--config", f"{one}.yaml"] for one in ("key", "yaml", "list")]
        if name != "tasks.list":
            lines.append([*command, "x", "--output"])
    lines += [["train", "actor", "--schedule.keep", "bets"], ["collect", "--limit", "many"], ["fly"], ["store", "fly"]]
    lines += [["store", one, "none"] for one in ("info", "verify")]
    found = quick(lines, tmp_path)
    assert [line for line, one in zip(lines, found, strict=True) if one != [2, []]] == []
    assert len(list(tmp_path.iterdir())) == 3, "a bad call left something behind"


def test_make_alfworld_prints_one_json_line_a_game(capsys, tmp_path):
    words = ["worlds", "make", "alfworld", "--output", str(tmp_path), "--games", "3", "--split", "unseen", "--json"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3 and {line["split"] for line in lines} == {"unseen"}


def test_a_reader_who_has_enough_is_no_error():
    """As in ``interlat train actor --help | head -1``; the help is longer than what a pipe holds unread."""
    command = f"{sys.executable} -m interlat.cli train actor --help | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.startswith("usage")


def test_an_interrupt_is_130(monkeypatch, capsys):
    def stop(words):
        raise KeyboardInterrupt

    monkeypatch.setattr("interlat.cli.main._dispatch", stop)
    assert main(["demo"]) == 130
    assert "go on" in capsys.readouterr().err


def test_a_group_of_commands_lists_its_own(capsys):
    for words in (["store"], ["store", "--help"], ["train", "-h"]):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert f"{words[0]} " in shown and "  demo" not in shown


def test_the_home_folder_is_expanded_behind_an_equals_sign(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["worlds", "make", "alfworld", "--output=~/games", "--games", "1", "--split", "unseen"]) == 0
    assert (tmp_path / "games").is_dir()


CHECKPOINTS = [f"--settings.checkpoints.{role}={role}" for role in ("scout", "none", "text", "latent")]


@pytest.mark.parametrize(
    ("command", "needed", "place"),
    [
        ("collect", ["--model", "m", "--output", "o", "--source.kind", "gsm8k"], ""),
        ("team", ["--model", "m", "--output", "o", "--task.kind", "gsm8k"], ""),
        ("train actor", ["--output", "o", "--start", "s", "--corpus", "conversations", "--thoughts", "t"], ""),
        ("train scout", ["--episodes", "e", "--validation", "v", "--tokenizer", "t", "--output", "o"], ""),
        ("compress", ["--receiver", "r", "--thoughts", "t", "--output", "o", "--sender", "s"], ""),
        ("evaluate", ["--episodes", "e", "--settings.output", "o", *CHECKPOINTS], "settings."),
    ],
)
def test_template_arguments_can_be_set_wherever_prompts_are_written(command, needed, place, tmp_path):
    kind = COMMANDS[command.replace(" ", ".")]
    loud = parse(kind, [*needed, f"--{place}template.enable-thinking", "true"])
    assert (loud.settings if place else loud).template == TemplateOptions(enable_thinking=True)
    flags = [f"--{place}template.enable-thinking=false", f"--{place}template.date=2026-11-28"]
    flags += [f"--{place}template.arguments", "a", "1"]
    config = parse(kind, [*needed, *flags])
    template = (config.settings if place else config).template
    assert template == TemplateOptions(False, "2026-11-28", {"a": "1"})
    write_config(config, tmp_path)
    assert parse(kind, ["--config", str(tmp_path / "config.yaml")]) == config


def test_template_arguments_of_a_file_have_any_values(tmp_path):
    written = tmp_path / "config.yaml"
    written.write_text("template: {enable_thinking: false, date: 2026-11-28, arguments: {a: [1, x], b: true, c: on}}")
    words = ["--config", str(written), "--episodes", "e", "--validation", "v", "--tokenizer", "t", "--output", "o"]
    fields = yaml.safe_load(written.read_text()) | dict.fromkeys(("episodes", "validation", "tokenizer", "output"), "x")
    written.write_text(yaml.safe_dump(fields))
    found = parse(TrainScoutCommand, words).template
    assert found == TemplateOptions(False, "2026-11-28", {"a": [1, "x"], "b": True, "c": True})
    assert found.variables["a"] == [1, "x"] and found.variables["b"] is True


NONE = "/none/none"
GAME = {
    "item": "a game",
    "game": NONE,
    "split": "seen",
    "task_type": "pick",
    "opening": "You see a shelf 1.",
    "layout": {"target_type": "mug"},
    "max_steps": 3,
    "episodes": [{"draw": 0, "evidence": "mug: today shelf 1."}],
}


STAGES = {
    "actor": lambda out: train_actor(TrainActor(out, NONE, start=NONE)),
    "scout": lambda out: train_scout(TrainScout(NONE, NONE, out, start=NONE)),
    "preference": lambda out: train_preference(TrainPreference(NONE, NONE, NONE, out)),
    "compress": lambda out: compress(Compress(NONE, NONE, out, sender=NONE)),
    "team": lambda out: evaluate_teams(EvaluateTeams(NONE, out, TaskSource("arithmetic", count=2))),
    "evaluate": lambda out: evaluate_household(EvaluateHousehold(Checkpoints(*[NONE] * 4), out), [GAME]),
    "latency": lambda out: measure_latency(MeasureLatency(Checkpoints(*[NONE] * 4), out, ("text",)), []),
    "trajectories": lambda out: collect_trajectories(CollectTrajectories(NONE, NONE, out)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_never_write_to_one_folder(tmp_path, stage):
    taken = rf"another process \(process {os.getpid()}\) writes to"
    with locked(tmp_path), pytest.raises(StorageError, match=taken):
        list(STAGES[stage](str(tmp_path)))
    # What is refused for another reason leaves nothing of the lock.
    with pytest.raises(InterlatError):
        list(STAGES[stage](str(tmp_path / "new")))
    assert os.listdir(tmp_path) == []


def test_two_processes_never_write_one_file_of_episodes(tmp_path):
    config = CollectEpisodes("none", "train", str(tmp_path / "train.jsonl"))
    with locked(tmp_path, "train.jsonl"), pytest.raises(StorageError, match=r"train\.jsonl; wait for it"):
        list(collect_episodes(config))
