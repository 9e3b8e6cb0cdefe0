import dataclasses
import sys
import types

import pytest

from interlat.cli.main import execute, parse
from interlat.config import read_config
from interlat.errors import InputError
from interlat.experiments.household.commands.collect import CollectTrajectoriesCommand, TrainScoutCommand
from interlat.files import read_lines
from interlat.training.trajectories import TRAJECTORIES_FILE, read_trajectories


def test_trajectories_are_counted_and_refused_settings_leave_no_trace(pipeline, tmp_path, capsys):
    config = CollectTrajectoriesCommand(
        str(pipeline.actors["text"]), str(pipeline.thoughts), str(tmp_path), attempts=2, limit=2, max_command_tokens=4
    )
    execute(config)
    played = read_trajectories(tmp_path)
    said = f"4 trajectories with 2 thoughts in {tmp_path / TRAJECTORIES_FILE}, {sum(one.won for one in played)} of them"
    assert len(played) == 4 and said in capsys.readouterr().err
    kept = (tmp_path / "config.yaml").read_text()
    assert read_config(CollectTrajectoriesCommand, tmp_path / "config.yaml") == config
    with pytest.raises(InputError, match="another settings"):
        execute(dataclasses.replace(config, seed=1))
    assert (tmp_path / "config.yaml").read_text() == kept


def test_a_scout_is_trained_and_tracked(pipeline, tmp_path, monkeypatch, capsys):
    calls = []
    package = types.ModuleType("trackio")
    for name in ("init", "log", "finish"):
        setattr(package, name, lambda *arguments, _name=name, **options: calls.append((_name, arguments, options)))
    monkeypatch.setitem(sys.modules, "trackio", package)
    words = ["--episodes", str(pipeline.episodes), "--validation", str(pipeline.held_out), "--output"]
    words += [str(tmp_path / "scout"), "--tokenizer", str(pipeline.root / "tokenizer"), "--tracker", "trackio"]
    words += ["--model.hidden-size", "16", "--model.layers", "1", "--model.heads", "2"]
    config = parse(TrainScoutCommand, [*words, "--schedule.steps", "2", "--schedule.batch-size", "4"])
    execute(config)
    assert [name for name, _, _ in calls] == ["init", "log", "log", "finish"]
    assert calls[0][2]["name"] == "scout" and calls[0][2]["config"]["schedule"]["steps"] == 2
    logged = [{"step": options["step"], **arguments[0]} for _, arguments, options in calls[1:3]]
    assert logged == read_lines(tmp_path / "scout" / "metrics.jsonl")
    assert (tmp_path / "scout" / "loss.svg").exists() and "scout in" in capsys.readouterr().err
