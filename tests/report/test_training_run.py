import dataclasses
import json

import pytest

from interlat.errors import InputError
from interlat.files import append_line
from interlat.report.training_run import shown_training
from interlat.training.options import Schedule
from interlat.training.settings import Tracking


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Tracking):
    output: str
    schedule: Schedule


def steps(config, ranks):
    assert ranks.is_first
    for step in (1, 2):
        record = {"step": step, "loss": 1.0 / step, "validation_loss": 2.0 / step}
        append_line(f"{config.output}/metrics.jsonl", record)
        yield step, record


def test_a_training_says_its_validations_and_leaves_its_settings_and_a_picture(tmp_path, capsys):
    config = Settings(output=str(tmp_path / "run"), schedule=Schedule(steps=2))
    model = shown_training(steps, config, "something")
    assert model == tmp_path / "run" / "model"
    said = capsys.readouterr().err
    assert "step 1: validation_loss 2.0000" in said and "something: 2 of 2" in said
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.yaml",
        "loss.png",
        "loss.svg",
        "metrics.jsonl",
    }
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])["step"] == 2


def test_a_training_that_is_refused_or_has_ended_leaves_everything_as_it_was(tmp_path, capsys):
    def refused(config, ranks):
        raise InputError("no")
        yield

    config = Settings(output=str(tmp_path / "run"), schedule=Schedule(steps=2))
    with pytest.raises(InputError):
        shown_training(refused, config, "something")
    shown_training(lambda *_: iter(()), config, "something")
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""
