"""Two processes with split parameters against one process: `torchrun` over gloo, on the CPU."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from interlat.config import write_config
from interlat.engine.hf import Engine
from interlat.files import read_lines
from interlat.training.actor import train_actor
from interlat.training.loss_weights import BranchWeights
from interlat.training.options import Curriculum, Schedule
from interlat.training.settings import TrainActor


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
