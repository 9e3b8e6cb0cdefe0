"""Damaged configuration files give a configuration or one line: no traceback."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from interlat.cli.team import RunTeam
from interlat.cli.train import CompressCommand, TrainActorCommand, TrainPreferenceCommand
from interlat.collect.thoughts import CollectThoughts
from interlat.config import read_config, write_config
from interlat.errors import InterlatError
from interlat.experiments.household.commands.collect import TrainScoutCommand
from interlat.experiments.household.commands.compare import Compare
from interlat.experiments.household.commands.evaluate import Evaluate
from interlat.experiments.household.commands.latency import EvaluateLatency
from mutation.mutate import damage_bytes, damage_json

ROOT = Path(__file__).parents[2]
CHECKPOINTS = "checkpoints: {scout: a, none: b, text: c, latent: d, compressed: e}"
KINDS: dict[type[Any], str] = {
    CollectThoughts: "{model: m, output: o, source: {kind: gsm8k}}",
    TrainActorCommand: "{thoughts: [t], output: o, message: latent, start: s}",
    TrainScoutCommand: "{episodes: e, validation: v, tokenizer: t, output: o}",
    TrainPreferenceCommand: "{start: s, thoughts: t, trajectories: r, output: o}",
    CompressCommand: "{receiver: r, thoughts: t, output: o, sender: s}",
    Evaluate: f"{{settings: {{{CHECKPOINTS}, output: o}}, episodes: [e]}}",
    EvaluateLatency: f"{{settings: {{{CHECKPOINTS}, output: o}}, episodes: [e]}}",
    Compare: "{arms: {a: [x], b: [y]}, baseline: a}",
    RunTeam: "{model: m, output: o, task: {kind: gsm8k}}",
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[type[Any], str]:
    folder = tmp_path_factory.mktemp("configuration")
    (folder / "given.yaml").write_text(KINDS[request.param])
    write_config(read_config(request.param, folder / "given.yaml"), folder)
    return request.param, (folder / "config.yaml").read_text()


def test_a_resolved_configuration_is_read_back(original: tuple[type[Any], str], tmp_path: Path) -> None:
    kind, text = original
    (tmp_path / "c.yaml").write_text(text)
    write_config(read_config(kind, tmp_path / "c.yaml"), tmp_path)
    assert (tmp_path / "config.yaml").read_text() == text


def test_damaged_configurations(original: tuple[type[Any], str], tmp_path: Path) -> None:
    kind, text = original
    rng = random.Random(41)
    path = tmp_path / "c.yaml"
    fields = yaml.safe_load(text)
    for _ in range(60):
        if rng.random() < 0.2:
            path.write_bytes(damage_bytes(text.encode(), rng))
        else:
            path.write_text(json.dumps(damage_json(fields, rng)))  # JSON is YAML
        try:
            config = read_config(kind, path)
        except InterlatError as error:
            assert str(path) in str(error) or dataclasses.is_dataclass(kind)
        else:
            write_config(config, tmp_path)
