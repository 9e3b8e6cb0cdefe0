import dataclasses
import json
import os

import pytest

from interlat.cli.stages import (
    Compare,
    Evaluate,
    MakeAlfworld,
    run_collect_trajectories,
    run_compare,
    run_evaluate,
    run_make_alfworld,
)
from interlat.config import read_config
from interlat.errors import InputError, InterlatError, StorageError
from interlat.evaluation.latency import MeasureLatency, measure_latency
from interlat.evaluation.teams import EvaluateTeams, evaluate_teams
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.collect_trajectories import CollectTrajectories, collect_trajectories
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold, evaluate_household
from interlat.experiments.household.train_scout import TrainScout, train_scout
from interlat.files import locked, write_atomically
from interlat.tasks.sources import TaskSource
from interlat.training.actor import TrainActor, train_actor
from interlat.training.compress.compression import Compress, compress
from interlat.training.preference import TrainPreference, train_preference
from interlat.training.trajectories import TRAJECTORIES_FILE, read_trajectories


def test_made_games_are_won_by_the_expert(tmp_path, capsys):
    config = MakeAlfworld(str(tmp_path), 6, "unseen", mini=True, verify=True)
    assert run_make_alfworld(config) == 0
    assert "won 6 of 6" in capsys.readouterr().err


def test_trajectories_are_counted_and_refused_settings_leave_no_trace(pipeline, tmp_path, capsys):
    config = CollectTrajectories(
        str(pipeline.actors["text"]), str(pipeline.thoughts), str(tmp_path), attempts=2, limit=2, max_command_tokens=4
    )
    run_collect_trajectories(config)
    played = read_trajectories(tmp_path)
    said = f"4 trajectories with 2 thoughts in {tmp_path / TRAJECTORIES_FILE}, {sum(one.won for one in played)} of them"
    assert len(played) == 4 and said in capsys.readouterr().err
    kept = (tmp_path / "config.yaml").read_text()
    assert read_config(CollectTrajectories, tmp_path / "config.yaml") == config
    with pytest.raises(InputError, match="another settings"):
        run_collect_trajectories(dataclasses.replace(config, seed=1))
    assert (tmp_path / "config.yaml").read_text() == kept


def test_evaluation_prints_json_lines_and_leaves_a_report(pipeline, tmp_path, capsys):
    models = {kind: str(pipeline.actors[kind]) for kind in ("none", "text", "latent")}
    settings = EvaluateHousehold(
        Checkpoints(scout=str(pipeline.scout), **models), str(tmp_path), ("none", "latent", "zeros"), max_plan_tokens=6
    )
    draws = tmp_path / "draws.jsonl"
    two = [
        {**r, "episodes": [*r["episodes"], *({**e, "draw": 1, "evidence": "mug: today."} for e in r["episodes"])]}
        for r in read_episodes(pipeline.held_out)
    ]
    draws.write_text("".join(f"{json.dumps(record)}\n" for record in two))
    run_evaluate(Evaluate((str(pipeline.held_out),), settings, games=2, threads=1, json=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6
    assert len({line["item"] for line in lines}) == 2 <= len(read_episodes(pipeline.held_out))
    for name in ("report.html", "config.yaml", "results.jsonl"):
        assert (tmp_path / name).exists()
    kept = (tmp_path / "config.yaml").read_text()
    # Another draw of the same games belongs into another folder, and one that there is not into none.
    for draw, message in ((1, "other evidence"), (7, "no draw 7")):
        with pytest.raises(InputError, match=message):
            run_evaluate(Evaluate((str(draws),), settings, games=2, threads=1, draw=draw))
        assert (tmp_path / "config.yaml").read_text() == kept


def test_arms_are_compared_by_their_evaluations(tmp_path, capsys):
    """An evaluation that went on with a model that was trained further holds old episodes, which do not count."""
    for name, won in (("a-0", "wwl"), ("a-1", "wll"), ("b-0", "lll")):
        old = [{"config_hash": "old", "variant": "latent", "split": "seen", "item": "x", "success": True}]
        new = [
            {"config_hash": "new", "variant": variant, "split": "seen", "item": str(place), "success": letter == "w"}
            for place, letter in enumerate(won)
            for variant in ("latent", "zeros")
        ]
        (tmp_path / name).mkdir()
        write_atomically(tmp_path / name / "results.jsonl", "".join(f"{json.dumps(line)}\n" for line in [*old, *new]))
    folders = [str(tmp_path / name) for name in ("a-0", "a-1", "b-0")]
    arms = {"a": tuple(folders[:2]), "b": (f"{folders[2]}:zeros",)}
    run_compare(Compare(arms, "b", str(tmp_path / "out"), json=True))
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["rates"] for record in records] == [pytest.approx([2 / 3, 1 / 3]), [0.0]]
    assert (tmp_path / "out" / "arms.jsonl").read_text() == said.out
    assert "| a | 2 |" in (tmp_path / "out" / "arms.md").read_text() and "50.0" in said.err
    assert all(len(line) <= 80 for line in said.err.splitlines())


def test_a_pattern_stands_for_the_draws_of_one_training(tmp_path, capsys):
    for name, won in (("a-0", "wwl"), ("a-1", "wll"), ("b-0", "lll"), ("b-1", "lll")):
        lines = [
            {
                "config_hash": "",
                "variant": "latent",
                "split": "seen",
                "item": str(n),
                "success": w == "w",
                "evidence": name[-1],
            }
            for n, w in enumerate(won)
        ]
        (tmp_path / name).mkdir()
        write_atomically(tmp_path / name / "results.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    run_compare(Compare({"a": (f"{tmp_path}/a-*",), "b": (f"{tmp_path}/b-*:latent",)}, "b", json=True))
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["rates"] for record in records] == [pytest.approx([0.5]), [0.0]]
    with pytest.raises(InputError, match="without episodes"):
        run_compare(Compare({"a": (f"{tmp_path}/c-*",), "b": (f"{tmp_path}/b-0",)}, "b"))
    # The same two draws, each by its folder, and the games of another evaluation alone.
    (tmp_path / "few").mkdir()
    few = tmp_path / "few" / "results.jsonl"
    write_atomically(few, "".join(f"{json.dumps({'item': item})}\n" for item in "01"))
    arms = {"a": (f"{tmp_path}/a-0 + {tmp_path}/a-1",), "b": (f"{tmp_path}/b-*:latent",)}
    run_compare(Compare(arms, "b", json=True))
    run_compare(Compare(arms, "b", games_of=str(tmp_path / "few"), json=True))
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["rates"] for record in records] == [pytest.approx([0.5]), [0.0], pytest.approx([0.75]), [0.0]]
    assert [record["games"] for record in records] == [3, 3, 2, 2]
    write_atomically(few, "".join(f"{json.dumps({'item': item})}\n" for item in "07"))
    with pytest.raises(InputError, match="arm 'a' played 1 of the 2 games"):
        run_compare(Compare(arms, "b", games_of=str(tmp_path / "few")))
    with pytest.raises(InputError, match="no games in"):
        run_compare(Compare(arms, "b", games_of=str(tmp_path / "none")))


NONE = "/none/none"
STAGES = {
    "actor": lambda out: train_actor(TrainActor(out, NONE, start=NONE)),
    "scout": lambda out: train_scout(TrainScout(NONE, NONE, NONE, out)),
    "preference": lambda out: train_preference(TrainPreference(NONE, NONE, NONE, out)),
    "compress": lambda out: compress(Compress(NONE, NONE, out, sender=NONE)),
    "team": lambda out: evaluate_teams(EvaluateTeams(NONE, out, TaskSource("arithmetic", count=2))),
    "evaluate": lambda out: evaluate_household(EvaluateHousehold(Checkpoints(*[NONE] * 4), out), []),
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


def test_a_comparison_counts_each_episode_once(tmp_path, capsys):
    for name, won in (("a", "wwl"), ("b", "lll")):
        lines = [
            {"config_hash": "", "variant": "latent", "split": "seen", "item": str(n), "success": w == "w"}
            for n, w in enumerate(won)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in [*lines, lines[0]])
        write_atomically(tmp_path / name / "results.jsonl", text)
    run_compare(Compare({"a": (f"{tmp_path}/a",), "b": (f"{tmp_path}/b",)}, "b", json=True))
    said = capsys.readouterr()
    assert [json.loads(line)["rates"] for line in said.out.splitlines()] == [pytest.approx([2 / 3]), [0.0]]
    assert said.err.count("1 line repeats a result in") == 2
    (tmp_path / "b" / "results.jsonl").write_text("5\n")
    with pytest.raises(StorageError, match=r"line 1 of .*results\.jsonl is 5"):
        run_compare(Compare({"a": (f"{tmp_path}/a",), "b": (f"{tmp_path}/b",)}, "b"))
