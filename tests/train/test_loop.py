import pytest
import torch

from interlat.errors import CheckpointError, InterlatError
from interlat.files import read_lines
from interlat.train.loop import METRICS_FILE, Schedule, learning_rate_factor, run_training

SCHEDULE = Schedule(steps=12, checkpoint_every=4, validate_every=6, warmup_steps=3)


def parts():
    torch.manual_seed(3)
    return {"model": torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))}


def train(directory, stop_after=None, modules=None):
    modules = modules or parts()

    def loss_of_step(step):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(16, 4, generator=generator)
        return (modules["model"](x).squeeze() - x.sum(dim=1)).square().mean(), {}

    for step, _ in run_training(directory, modules, SCHEDULE, 0, loss_of_step, lambda: {"loss": 1.0}):
        if step == stop_after:
            break
    return [p.detach().clone() for p in modules["model"].parameters()]


@pytest.mark.parametrize("stop_after", [2, 4, 7, 11])
def test_a_killed_and_continued_run_is_bit_identical(tmp_path, stop_after):
    whole = train(tmp_path / "whole")
    train(tmp_path / "killed", stop_after)
    continued = train(tmp_path / "killed")
    assert all(torch.equal(a, b) for a, b in zip(whole, continued, strict=True))
    steps = [record["step"] for record in read_lines(tmp_path / "killed" / METRICS_FILE)]
    assert steps == list(range(1, 13))


def test_a_finished_run_does_nothing_more(tmp_path):
    whole = train(tmp_path)
    again = train(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(CheckpointError, match="another output folder"):
        train(tmp_path, modules={"model": torch.nn.Sequential(torch.nn.Linear(3, 1))})


def test_a_loss_that_is_not_finite_stops(tmp_path):
    modules = {"model": torch.nn.Linear(1, 1)}
    with pytest.raises(InterlatError, match="not finite"):
        loss_of_step = lambda step: (modules["model"](torch.tensor([[torch.nan]])).sum(), {})  # noqa: E731
        list(run_training(tmp_path, modules, SCHEDULE, 0, loss_of_step))


def test_learning_rate_warms_up_and_falls_to_a_tenth():
    schedule = Schedule(steps=100, warmup_steps=10)
    factors = [learning_rate_factor(step, schedule) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert Schedule(steps=100, stop_at=40).last_step == 40
