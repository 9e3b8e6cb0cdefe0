"""A training with its progress, its tracker, its configuration and its picture, in one process or in several."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from interlat.config import write_config
from interlat.engine.distributed import Ranks
from interlat.progress import drain, say, track
from interlat.report.training_figures import plot_training
from interlat.training.loop import MODEL_FOLDER
from interlat.training.tracking import tracked

Steps = Iterator[tuple[int, dict[str, float]]]


def shown_training(train: Callable[[Any, Ranks], Steps], config: Any, title: str) -> Path:
    """Run a training to its end with its progress; under torchrun the first process reports.

    Args:
        train: makes the steps of settings and ranks.
        config: the settings; they say where the metrics go, too.
        title: what is trained.

    Returns:
        The folder of the finished model.
    """
    model = Path(config.output) / MODEL_FOLDER
    ranks = Ranks.from_environment()
    with ranks.together("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"):
        steps = train(config, ranks)
        if not ranks.is_first:
            drain(steps)
            return model
        # Closed here, so that the run in the tracker ends with the training and not with the process.
        with contextlib.closing(tracked(steps, config, config.output)) as logged:
            taken = sum(1 for _ in track(_told(logged, config), title))
    # A training that had ended before has said so, and is left as it is.
    if taken:
        picture, _ = plot_training([config.output])
        say(f"{title} in {model}, its losses in {picture}")
    return model


def _told(steps: Iterable[tuple[int, dict[str, float]]], config: Any) -> Iterator[tuple[int, int]]:
    """Pass the steps on for a bar, and say what the validations gave."""
    for number, (step, metrics) in enumerate(steps):
        if not number:
            # Not before the first step: a configuration that is refused leaves no folder.
            write_config(config, config.output)
        shown = {name: value for name, value in metrics.items() if name.startswith("validation")}
        if shown:
            say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in shown.items()))
        yield step, config.schedule.last_step
