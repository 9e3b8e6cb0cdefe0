import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from interlat.config import write_config
from interlat.engine.hf import Engine
from interlat.errors import CheckpointError, InputError, InterlatError, StorageError
from interlat.files import read_lines
from interlat.training.actor import train_actor
from interlat.training.loop import (
    BEST_FILE,
    CHECKPOINT_FILE,
    EXPORTED_FILE,
    METRICS_FILE,
    check_settings,
    export_finished,
    learning_rate_factor,
    load_parameters,
    make_optimizer,
    read_metrics,
    run_training,
    step_of,
    trained_parameters,
)
from interlat.training.loss_weights import BranchWeights
from interlat.training.options import Curriculum, Schedule
from interlat.training.settings import TrainActor

SCHEDULE = Schedule(steps=12, checkpoint_every=4, eval_every=6, warmup_steps=3)


def parts():
    torch.manual_seed(3)
    return {"model": torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))}


def train(directory, stop_after=None, modules=None, schedule=SCHEDULE, identity=None):
    modules = modules or parts()

    def micro_batches_of_step(step):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(16, 4, generator=generator)
        yield (modules["model"](x).squeeze() - x.sum(dim=1)).square().mean(), {}

    steps = run_training(
        directory, modules, schedule, 0, micro_batches_of_step, lambda: {"loss": 1.0}, identity=identity
    )
    for step, _ in steps:
        if step == stop_after:
            break
    return [p.detach().clone() for p in modules["model"].parameters()]


@pytest.mark.parametrize("part", ["adapter", "bridge", "resampler"])
def test_what_is_trained_beside_the_model_has_a_rate_of_its_own(part):
    modules = {"model": torch.nn.Linear(4, 4), part: torch.nn.Linear(4, 2)}
    optimizer = make_optimizer(modules, Schedule(learning_rate=1e-3, adapter_learning_rate=3e-3))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, module in modules.items():
        assert {rates[id(p)] for p in module.parameters()} == {1e-3 if name == "model" else 3e-3}


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


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("steps", [12, 5, 20], ids=["finished", "fewer", "more"])
def test_another_training_is_refused_and_nothing_is_touched(tmp_path, steps):
    train(tmp_path, identity={"seed": 1, "start": "a" * 64})
    before = contents(tmp_path)
    schedule = dataclasses.replace(SCHEDULE, steps=steps)
    with pytest.raises(CheckpointError, match="seed was 1 and is now 2; start was"):
        train(tmp_path, schedule=schedule, identity={"seed": 2, "start": "b" * 64})
    with pytest.raises(CheckpointError, match="seed was 1 and is now 2; give"):
        check_settings(tmp_path, {"seed": 2})
    assert contents(tmp_path) == before
    check_settings(tmp_path, {"seed": 1})
    check_settings(tmp_path / "new", {"seed": 2})


def test_a_finished_run_says_so_and_touches_nothing(tmp_path, capsys):
    train(tmp_path, identity={"seed": 1})
    before = contents(tmp_path)
    for schedule in (SCHEDULE, dataclasses.replace(SCHEDULE, steps=5)):
        train(tmp_path, schedule=schedule, identity={"seed": 1})
        assert f"the training in {tmp_path} ended before, after 12 steps; there is no step" in capsys.readouterr().err
        assert contents(tmp_path) == before


def as_first_version(folder):
    """Checkpoints as they were before they said what they are of."""
    for name in (CHECKPOINT_FILE, BEST_FILE):
        path = folder / name
        save_file(load_file(path), path, {"step": str(step_of(path))})


def test_a_checkpoint_of_the_first_version_goes_on_with_a_warning(tmp_path, capsys):
    whole = train(tmp_path / "whole")
    train(tmp_path / "old", 7)
    as_first_version(tmp_path / "old")
    assert all(map(torch.equal, whole, train(tmp_path / "old", identity={"seed": 1})))
    assert "is of an earlier version and does not say what it was trained with" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="seed was 1"):
        train(tmp_path / "old", identity={"seed": 2})


def test_the_model_is_made_once_of_every_checkpoint(tmp_path):
    made = []

    def export():
        made.append(step_of(tmp_path / CHECKPOINT_FILE))
        (tmp_path / "model").mkdir(exist_ok=True)

    def run(steps):
        train(tmp_path, schedule=dataclasses.replace(SCHEDULE, steps=steps), identity={"seed": 1})
        export_finished(tmp_path, export)

    run(12)
    run(12)
    run(6)
    assert made == [12]
    run(16)
    assert made == [12, 16]
    # Killed between the last step and the export, or the model was removed.
    (tmp_path / EXPORTED_FILE).unlink()
    run(16)
    (tmp_path / "model").rmdir()
    run(16)
    assert made == [12, 16, 16, 16]


def test_of_a_checkpoint_of_the_first_version_a_model_is_made_only_where_there_is_none(tmp_path):
    train(tmp_path)
    as_first_version(tmp_path)
    made = []
    export_finished(tmp_path, lambda: made.append(1))
    (tmp_path / "model").mkdir()
    (tmp_path / EXPORTED_FILE).unlink()
    export_finished(tmp_path, lambda: made.append(2))
    assert made == [1] and not (tmp_path / EXPORTED_FILE).exists()


def test_a_damaged_checkpoint_is_not_trained_on(tmp_path):
    train(tmp_path, 7)
    path = tmp_path / CHECKPOINT_FILE
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
        train(tmp_path)


def test_doubled_and_foreign_lines_of_metrics(tmp_path, capsys):
    train(tmp_path)
    path = tmp_path / METRICS_FILE
    records = read_lines(path)
    path.write_text("".join(json.dumps(record) + "\n" for record in [*records[:5], *records[:4], *records[5:]]))
    assert read_metrics(tmp_path) == records
    # The line of step 12 is torn.
    path.write_bytes(path.read_bytes()[:-20])
    train(tmp_path)
    assert "lacks 1 of the 12 steps taken" in capsys.readouterr().err
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == list(range(1, 12))
    for line in ("5", "{}", '{"step": "2"}', '{"step": 2, "validation_loss": "x"}'):
        path.write_text(line + "\n")
        with pytest.raises(StorageError, match=METRICS_FILE):
            train(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(CheckpointError, match="another output folder"):
        train(tmp_path, modules={"model": torch.nn.Sequential(torch.nn.Linear(3, 1))})


def test_a_loss_that_is_not_finite_stops(tmp_path):
    modules, nan = {"model": torch.nn.Linear(1, 1)}, torch.tensor([[torch.nan]])
    with pytest.raises(InterlatError, match="not finite"):
        list(run_training(tmp_path, modules, SCHEDULE, 0, lambda step: iter([(modules["model"](nan).sum(), {})])))


def test_learning_rate_warms_up_and_falls_to_a_tenth():
    schedule = Schedule(steps=100, warmup_steps=10)
    factors = [learning_rate_factor(step, schedule) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert Schedule(steps=100, stop_at=40).last_step == 40


def test_passes_add_up(tmp_path):
    """A step in one pass and in four, whose losses are shares of the same mean, moves the parameters alike."""
    results = []
    for name, size in (("one", 16), ("four", 4)):
        torch.manual_seed(3)
        model = torch.nn.Linear(4, 1)

        def micro_batches_of_step(step, model=model, size=size):
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            for part in x.split(size):
                loss = (model(part).squeeze() - part.sum(dim=1)).square().sum() / 16
                yield loss, {"twice": 2 * loss.detach()}

        steps = list(run_training(tmp_path / name, {"model": model}, SCHEDULE, 0, micro_batches_of_step))
        assert all(metrics["twice"] == pytest.approx(2 * metrics["loss"]) for _, metrics in steps)
        results.append(model.weight.detach())
    assert torch.allclose(*results, atol=1e-6)


def validated(directory, losses, stop_after=None, **fields):
    """A training whose parameter is the number of its step and whose validation loss is given; what it leaves."""
    modules = {"model": torch.nn.Linear(1, 1)}
    schedule = Schedule(steps=len(losses), checkpoint_every=3, eval_every=1, warmup_steps=0, **fields)
    step = iter(range(step_of(directory / CHECKPOINT_FILE) or 0, len(losses)))

    def validate():
        number = next(step)
        modules["model"].weight.data.fill_(number + 1)
        return {"loss": losses[number]}

    passes = lambda step: iter([(modules["model"](torch.ones(1, 1)).sum(), {})])  # noqa: E731
    taken = []
    for finished, _ in run_training(directory, modules, schedule, 0, passes, validate):
        taken.append(finished)
        if finished == stop_after:
            break
    best = {"model": torch.nn.Linear(1, 1)}
    load_parameters(directory / BEST_FILE, trained_parameters(best))
    return taken, best["model"].weight.item()


LOSSES = [5.0, 3.0, 4.0, 2.0, 2.5, 2.0, 2.6, 1.0]


def test_the_best_parameters_are_kept(tmp_path):
    assert validated(tmp_path, LOSSES) == (list(range(1, 9)), 8)
    assert validated(tmp_path / "other", LOSSES[:7]) == (list(range(1, 8)), 4)


@pytest.mark.parametrize("stop_after", [None, 2, 4, 5])
def test_training_ends_when_nothing_gets_better(tmp_path, stop_after):
    """Three validations without a lower loss than that of step 4; a killed run counts on where it was."""
    if stop_after:
        validated(tmp_path, LOSSES, stop_after, patience=3)
    taken, best = validated(tmp_path, LOSSES, patience=3)
    assert (taken[-1], best, step_of(tmp_path / CHECKPOINT_FILE)) == (7, 4, 7)
    assert validated(tmp_path, LOSSES, patience=3) == ([], 4)


def test_best_parameters_from_behind_the_checkpoint_are_made_again(tmp_path):
    """Killed between the best parameters of step 4 and the checkpoint of step 6, it goes on from step 3."""
    validated(tmp_path, LOSSES, 4)
    assert (step_of(tmp_path / BEST_FILE), step_of(tmp_path / CHECKPOINT_FILE)) == (4, 3)
    assert validated(tmp_path, [5.0, 3.0, 4.0, 3.5, 3.2, 3.6])[1] == 5


def test_a_step_is_cut_into_passes_that_hold_every_sample_once():
    samples = list(range(7))
    assert [list(part) for part in Schedule(micro_batch_size=3).micro_batches_of(samples)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]
    assert list(Schedule().micro_batches_of(samples)) == [samples] and list(Schedule().micro_batches_of([])) == []


@pytest.mark.parametrize("name", ["steps", "batch_size", "micro_batch_size", "patience", "eval_every", "stop_at"])
def test_counts_are_positive(name):
    with pytest.raises(InputError, match=name):
        Schedule(**{name: 0})


def test_metrics_of_an_older_version_have_the_names_of_today(tmp_path):
    old = {"step": 1, "loss": 1.0, "separation": 0.5, "validation_played_agreement_2": 0.1, "validation_loss": 2.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    new = {"step": 1, "loss": 1.0, "contrastive": 0.5, "validation_on_policy_distillation_2": 0.1}
    assert read_metrics(tmp_path) == [{**new, "validation_loss": 2.0}]


def test_a_micro_batch_that_moves_nothing_is_taken(tmp_path):
    """Such as one without latent messages where the adapter alone is trained: its loss counts, and has no gradient."""
    modules = {"adapter": torch.nn.Linear(1, 1)}

    def micro_batches_of_step(step):
        yield torch.tensor(2.0), {}
        if step:
            yield modules["adapter"](torch.ones(1, 1)).sum() * 0.0 + 1.0, {}

    before = modules["adapter"].weight.item()
    taken = list(run_training(tmp_path, modules, Schedule(steps=2, warmup_steps=0), 0, micro_batches_of_step))
    assert [metrics["loss"] for _, metrics in taken] == [2.0, 3.0] and taken[0][1]["gradient_norm"] == 0.0
    assert step_of(tmp_path / CHECKPOINT_FILE) == 2 and modules["adapter"].weight.item() == pytest.approx(
        before, rel=0.1
    )


@pytest.fixture
def config(pipeline, tmp_path):
    """The whole recipe from a trained text actor. The adapter's dropout is drawn by the process, so it is off."""
    return TrainActor(
        str(tmp_path / "one"),
        message="latent",
        thoughts=(str(pipeline.thoughts),),
        start=str(pipeline.actors["text"]),
        schedule=Schedule(
            steps=4,
            batch_size=4,
            checkpoint_every=2,
            eval_every=2,
            warmup_steps=1,
            learning_rate=1e-4,
            adapter_learning_rate=1e-4,
        ),
        adapter_heads=2,
        adapter_dropout=0.0,
        validation_share=0.4,
        losses=BranchWeights(0.5, 0.1, adaptive=True),
        curriculum=Curriculum("uniform"),
    )


def launch(config, folder, *flags, processes=2):
    write_config(config, folder)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m",
         "interlat.cli", "train", "actor", "--config", str(folder / "config.yaml"), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def close(one, other, tolerance):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor.float(), other[name].float(), atol=tolerance), name


@pytest.mark.parametrize(
    "changes", [{}, pytest.param({"finetune": "lora"}, marks=pytest.mark.slow)], ids=["full", "lora"]
)
def test_two_processes_train_as_one(config, tmp_path, changes):
    config = dataclasses.replace(config, **changes)
    list(train_actor(config))
    two = dataclasses.replace(config, output=str(tmp_path / "two"))
    # Killed after two steps and continued: the split state comes back from the whole one on disk.
    for flags in (("--schedule.stop-at", "2"), ()):
        done = launch(two, tmp_path, *flags)
        assert done.returncode == 0, done.stderr[-3000:]
    lines = [read_lines(f"{folder.output}/metrics.jsonl") for folder in (config, two)]
    for one, other in zip(*lines, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"seconds"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), (one["step"], name)
    # AdamW divides by the root of tiny second moments, so rounding is enlarged: a step moves by up to the rate.
    close(*(load_file(f"{folder.output}/checkpoint.safetensors") for folder in (config, two)), tolerance=2e-4)
    models = [Engine.load(f"{folder.output}/model", dtype="float32").model.state_dict() for folder in (config, two)]
    close(*models, tolerance=0.01)
    assert (tmp_path / "two" / "model" / "adapter.safetensors").exists()


@pytest.mark.slow
def test_one_process_continues_what_two_began(config, tmp_path):
    two = dataclasses.replace(config, output=str(tmp_path / "two"))
    done = launch(two, tmp_path, "--schedule.stop-at", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [step for step, _ in train_actor(two)]
    list(train_actor(config))
    assert steps == [3, 4]
    close(*(load_file(f"{folder.output}/checkpoint.safetensors") for folder in (config, two)), tolerance=2e-4)


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(config, tmp_path):
    done = launch(dataclasses.replace(config, output=str(tmp_path / "two")), tmp_path, "--schedule.batch-size", "3")
    assert done.returncode != 0 and "batch_size 3 does not divide by 2 processes" in done.stderr
