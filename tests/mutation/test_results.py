"""Damaged lines in results, metrics and trajectories give records that a report can use, or an error of ours."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlat.errors import InterlatError
from interlat.evaluation import teams
from interlat.experiments.household import evaluate as household
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold
from interlat.experiments.household.report import build_report
from interlat.training.loop import METRICS_FILE, read_metrics
from interlat.training.trajectories import TRAJECTORIES_FILE, read_trajectories
from mutation.mutate import damage_bytes, damage_json

EPISODE = {
    **dict.fromkeys(household.EPISODE_FIELDS, 1),
    "variant": "text",
    "split": "seen",
    "task_type": "clean",
    "success": True,
    "max_steps": 9,
    "message_kind": "text",
    "actor": "text",
    "plan": "find apple",
    "sender_seconds": 0.5,
    "turns": [{"action": "go", "observation": "You go."}],
}
TRAJECTORY = {
    "id": "a#0",
    "attempt": 0,
    "item": "a",
    "won": True,
    "steps": 1,
    "max_steps": 9,
    "turns": [["go", "You go."]],
    "seed": 1,
    "actor": "x",
    "store": "y",
    "settings": {"temperature": 1.0},
}


def damaged_lines(records: list[dict[str, Any]], rng: random.Random) -> bytes:
    lines = [json.dumps(record) for record in records]
    place = rng.randrange(len(lines))
    if rng.random() < 0.7:
        lines[place] = json.dumps(damage_json(records[place], rng))
        return "".join(line + "\n" for line in lines).encode()
    return damage_bytes("".join(line + "\n" for line in lines).encode(), rng)


def check(path: Path, records: list[dict[str, Any]], read: Callable[[], Any], count: int = 300) -> None:
    """``read`` is given the undamaged file, which it must be able to read, and then damaged ones."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert len(read()) == len(records)
    rng = random.Random(51)
    for _ in range(count):
        path.write_bytes(damaged_lines(records, rng))
        try:
            read()
        except InterlatError as error:
            assert "\n" not in str(error)


@pytest.fixture
def config(tmp_path: Path) -> EvaluateHousehold:
    return EvaluateHousehold(Checkpoints("a", "b", "c", "d"), str(tmp_path), variants=("text",))


def test_damaged_episodes(config: EvaluateHousehold, tmp_path: Path) -> None:
    records = [{**EPISODE, "item": item, "config_hash": config.hash} for item in ("a", "b", "c")]
    check(tmp_path / household.RESULTS_FILE, records, lambda: household.results_of(config).records)


def test_damaged_episodes_make_a_report_or_an_error(config: EvaluateHousehold, tmp_path: Path) -> None:
    records = [{**EPISODE, "item": item, "config_hash": config.hash} for item in ("a", "b")]

    def report() -> list[dict[str, Any]]:
        found = household.results_of(config).records
        if found:
            build_report(found, tmp_path / "report")
        return found

    check(tmp_path / household.RESULTS_FILE, records, report, count=12)


def test_damaged_answers(tmp_path: Path) -> None:
    from interlat.tasks.sources import TaskSource

    config = teams.EvaluateTeams("m", str(tmp_path), TaskSource("gsm8k"))
    values = {str: "x", bool: True, int: 1, float: 0.5, dict: {}, list: []}
    answer = {name: values[kind] for name, kind in teams.ANSWER_FIELDS.items()}
    records = [{**answer, "item": item, "variant": "single", "config_hash": config.hash} for item in ("a", "b")]
    check(tmp_path / teams.RESULTS_FILE, records, lambda: teams.results_of(config).records)


def test_damaged_metrics(tmp_path: Path) -> None:
    records = [{"step": step, "loss": 1.0 / step, "validation_loss": 0.5} for step in (1, 2, 3)]
    check(tmp_path / METRICS_FILE, records, lambda: read_metrics(tmp_path))


def test_damaged_trajectories(tmp_path: Path) -> None:
    records = [{**TRAJECTORY, "attempt": number} for number in range(3)]
    check(tmp_path / TRAJECTORIES_FILE, records, lambda: read_trajectories(tmp_path))
