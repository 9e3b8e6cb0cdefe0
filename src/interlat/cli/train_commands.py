"""What the training commands do around their trainings: progress, the resolved configuration, several processes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tyro.conf import Positional

from interlat.config import write_config
from interlat.engine.distributed import Ranks
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes, texts_of
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE
from interlat.experiments.household.train_scout import TrainScout, train_scout
from interlat.experiments.tokenizer import train_tokenizer
from interlat.files import atomic_folder
from interlat.progress import drain, say, track
from interlat.report.training_figures import plot_training
from interlat.tasks.conversations import load_conversations
from interlat.training.actor import TrainActor, train_actor
from interlat.training.compression import Compress, compress
from interlat.training.model import Family
from interlat.training.preference import TrainPreference, load_preferences, train_preference
from interlat.training.tracking import Tracking, tracked


@dataclass(frozen=True)
class TrainTokenizer:
    """Train a byte-level tokenizer with a chat template on collected episodes or conversations."""

    output: str
    """Folder of the tokenizer."""
    episodes: str = ""
    """``episodes.jsonl`` of the training games."""
    conversations: str = ""
    """Instead of episodes: a file of conversations that begin with their task, such as `interlat collect lessons`
    writes."""
    vocabulary_size: int = 1500
    """Upper bound of the number of tokens."""
    family: Family = "qwen2"
    """How a conversation is written: as Qwen 2 does (ChatML) or as Llama 3."""


def run_train_tokenizer(config: TrainTokenizer) -> None:
    """Train the tokenizer."""
    if bool(config.episodes) == bool(config.conversations):
        raise InputError("the tokenizer is trained on episodes or on conversations; give one of the two files")
    texts: Iterable[str]
    if config.episodes:
        texts = texts_of(read_episodes(config.episodes))
    else:
        tasks = load_conversations(config.conversations, task_turn=0).tasks
        texts = [turn["value"] for task in tasks for turn in task.metadata["conversations"]]
    specials, numbered = (BEGIN_MESSAGE, END_MESSAGE), bool(config.episodes)
    tokenizer = train_tokenizer(texts, config.vocabulary_size, specials, config.family, numbered)
    with atomic_folder(config.output) as temporary:
        tokenizer.save_pretrained(temporary)
        others = {path.name for path in Path(config.output).glob("*")} - {path.name for path in temporary.iterdir()}
        if others:
            raise InputError(f"{config.output} holds other files than a tokenizer ({min(others)}); give a new folder")
    say(f"tokenizer with {len(tokenizer)} tokens in {config.output}")


@dataclass(frozen=True)
class TrainScoutCommand(Tracking, TrainScout):
    """Train a scout from scratch."""


def run_train_scout(config: TrainScoutCommand) -> None:
    """Train a scout."""
    _show(train_scout(config), config.schedule.last_step, "scout", config.output, config)


@dataclass(frozen=True)
class TrainActorCommand(Tracking, TrainActor):
    """Train an actor on expert episodes with messages of one kind."""


def run_train_actor(config: TrainActorCommand) -> None:
    """Train an actor. Under torchrun the model is split over the processes, and the first one reports."""
    _run_sharded(config, train_actor, f"actor ({config.message})")


@dataclass(frozen=True)
class TrainPreferenceCommand(Tracking, TrainPreference):
    """Train an actor on pairs of a won and a lost trajectory with the same message."""


def run_train_preference(config: TrainPreferenceCommand) -> None:
    """Train an actor on its preferences."""
    data = load_preferences(config)
    say(data.counts)
    steps = train_preference(config, data)
    _show(steps, config.schedule.last_step, "actor (preference)", config.output, config)


@dataclass(frozen=True)
class CompressCommand(Tracking, Compress):
    """Train a sender to say in a few latents what a frozen receiver reads in a full message."""


def run_compress(config: CompressCommand) -> None:
    """Train a compressed sender. Under torchrun the models are split over the processes."""
    _run_sharded(config, compress, f"compressed sender ({config.method})")


@dataclass(frozen=True)
class PlotTraining:
    """Draw the loss curves of a training, or compare the validation losses of several; also while they run."""

    runs: Positional[tuple[str, ...]]
    """Output folders of the trainings."""
    output: str | None = None
    """Folder for the picture; None is that of the training, if it is one."""


def run_plot_training(config: PlotTraining) -> None:
    """Draw; the paths on stdout."""
    for path in plot_training(config.runs, config.output):
        print(path)


def _run_sharded(
    config: Any, train: Callable[[Any, Ranks], Iterator[tuple[int, dict[str, float]]]], title: str
) -> None:
    ranks = Ranks.from_environment()
    with ranks.together("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"):
        steps = train(config, ranks)
        if ranks.is_first:
            _show(steps, config.schedule.last_step, title, config.output, config)
        else:
            drain(steps)


def _show(
    steps: Iterable[tuple[int, dict[str, float]]], total: int, title: str, output: str, tracking: Tracking
) -> None:
    # Closed here, so that the run in the tracker ends with the training and not with the process.
    with contextlib.closing(tracked(steps, tracking, output)) as logged:
        taken = sum(1 for _ in track(_told(logged, total, output, tracking), title))
    # A training that had ended before has said so, and is left as it is.
    if taken:
        picture, _ = plot_training([output])
        say(f"{title} in {Path(output) / 'model'}, its losses in {picture}")


def _told(
    steps: Iterable[tuple[int, dict[str, float]]], total: int, output: str, config: Tracking
) -> Iterator[tuple[int, int]]:
    """Pass the steps on for a bar, and say what the validations gave."""
    for number, (step, metrics) in enumerate(steps):
        if not number:
            # Not before the first step: a configuration that is refused leaves no folder.
            write_config(config, output)
        shown = {name: value for name, value in metrics.items() if name.startswith("validation")}
        if shown:
            say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in shown.items()))
        yield step, total
