import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from interlat.cli.evaluate import EvaluateCommand
from interlat.cli.main import main, parse
from interlat.environments.alfworld.environment import Alfworld
from interlat.environments.protocol import ENVIRONMENTS, EnvironmentOptions, PlaysItself
from interlat.environments.verification import verified
from interlat.evaluation.evaluate import environment_of
from interlat.experiments.household.tasks import HouseholdKind
from interlat.tasks.sources import TASK_SOURCES
from killed_workers import records_despite_kills, workers


@pytest.fixture(scope="module")
def data(small_games):
    return str(small_games["train"][0].parents[4])


@pytest.fixture(scope="module")
def environment(data):
    made = Alfworld(EnvironmentOptions(data=(data,), split="valid_unseen", workers=2))
    yield made
    made.close()


def test_it_is_known_by_name():
    assert ENVIRONMENTS["alfworld"] is Alfworld and Alfworld.reply_tokens == 100


def test_an_evaluation_means_the_games_and_not_the_tasks_of_that_name(data, tmp_path):
    assert isinstance(TASK_SOURCES["alfworld"], HouseholdKind)
    words = ["--sender", "m", "--environment", "alfworld", "--data", data, "--split", "valid_unseen", "--limit", "1"]
    (tmp_path / "evaluate.yaml").write_text("options: {prompt: plan, admissible: true}\n")
    words += ["--output", "run", "--config", str(tmp_path / "evaluate.yaml"), "--options.steps", "7"]
    config = parse(EvaluateCommand, words, "evaluate")
    assert config.options == {"prompt": "plan", "admissible": True, "steps": 7}
    made = environment_of(config, None)
    try:
        [item] = made.items()
        assert isinstance(made, Alfworld) and item.max_steps == 7
    finally:
        made.close()


def test_the_expert_solves_what_a_random_player_does_not(environment):
    assert isinstance(environment, PlaysItself)
    found = list(verified(environment, environment.items(), seed=0))
    assert len(found) == 6 and all(one.expert_solved and one.expert_score == 1 for one in found)
    assert sum(one.random_score for one in found) < 6


def test_side_by_side_is_as_one_by_one_and_workers_may_be_killed_in_mid_episode(environment):
    items = environment.items()
    policies = {item.id: environment.expert_policy(item) for item in items}
    actions = {item.id: [policies[item.id](None) for _ in range(4)] for item in items}
    alone = {}
    for item in items:
        environment.start([item])
        alone[item.id] = [environment.step([item], [f"Thought: so.\nAction: {one}"])[0] for one in actions[item.id]]
    environment.start(items)
    for turn in range(4):
        if turn in (1, 3):
            os.kill(workers(environment)[turn // 2], signal.SIGKILL)
        seen = environment.step(items, [actions[item.id][turn] for item in items])
        assert seen == [alone[item.id][turn] for item in items]


def test_killed_workers_change_no_result(data, save_model, tmp_path, monkeypatch):
    records = records_despite_kills(
        monkeypatch,
        Alfworld,
        tmp_path,
        sender=str(save_model("talker", positions=4096)),
        data=(data,),
        split="valid_unseen",
        options={"prompt": "task", "steps": 4},
        channels=("none", "text"),
        max_new_tokens=4,
        max_plan_tokens=4,
        limit=4,
        batch_size=4,
    )
    assert len(records) == 8 and {line["split"] for line in records} == {"valid_unseen"}
    assert {line["steps"] for line in records} == {4} and {line["failure"] for line in records} == {""}


def test_the_command_line_verifies_it_and_takes_options(data, capsys):
    words = ["environments", "verify", "alfworld", "--data", data, "--split", "eval_in_distribution,train"]
    assert main([*words, "--json", "--workers", "1"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["items"], line["expert_solved"], line["games"], line["skipped"]) == (6, 6, 6, {})
    assert (line["steps"], line["prompt"]) == (20, "react")
    assert main([*words, "--limit", "1", "--workers", "1", "--options.steps", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 2
    show = ["environments", "show", "alfworld", "--data", data, "--limit", "1", "--workers", "1", "--json"]
    assert main([*show, "--options", "prompt", "task", "admissible", "true"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["text"].startswith(f"{shown['question']}\nYou can: ")


def test_skipped_games_are_named_at_the_start(data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "games")
    path = next((tmp_path / "games").rglob("train/*/*/game.tw-pddl"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "solvable": False}))
    made = Alfworld(EnvironmentOptions(data=(str(tmp_path / "games"),), split="train", limit=1, workers=1))
    made.close()
    assert "5 games; left out as ALFWorld's own loader does: 1 not solvable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--data", "nowhere"], "data is nowhere"),
        (["--data", "DATA", "--split", "test"], "split is 'test'"),
        (["--data", "DATA", "--options.colour", "red"], "no option colour"),
    ],
)
def test_bad_input_is_one_line(words, named, data, capsys):
    assert main(["environments", "verify", "alfworld", *(data if word == "DATA" else word for word in words)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and named in last


def test_without_the_package_one_line_says_how_to_get_it(data, tmp_path):
    (tmp_path / "alfworld.py").write_text("raise ModuleNotFoundError('no alfworld here', name='alfworld')")
    words = ["environments", "verify", "alfworld", "--data", data, "--limit", "1", "--workers", "1"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-m", "interlat.cli", *words], env=variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.strip() == 'error: ALFWorld is not installed; run: pip install "interlat[alfworld]"'
