"""What the trainings share: how one begins and continues, takes its steps, is validated, and writes its model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.module_file import StoredModule
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_checkpoint, load_tokenizer
from interlat.engine.distributed import Ranks
from interlat.engine.hardware import choose_device
from interlat.engine.peft_adapter import adapter_folder
from interlat.errors import InputError
from interlat.places import adapter_base, model_place
from interlat.progress import say
from interlat.training.card import model_card, settings_of
from interlat.training.checkpoint_file import Identity, settings_identity
from interlat.training.corpus import CORPORA, Corpus, LengthOf, StoredMessages
from interlat.training.loop import MODEL_FOLDER, MicroBatches, check_settings, export_finished, run_training, shard
from interlat.training.low_rank import load_with_updates, merge_updates
from interlat.training.model import build_model, export_model, round_frozen
from interlat.training.options import Sample, TrainingOptions, in_parts

VALIDATION_PASS = 32
"""Examples in one pass of a validation."""
Steps = Iterator[tuple[int, dict[str, float]]]
"""(finished steps, metrics) of a training that runs."""


def run_stage(config: Any, train: Callable[[Identity], Steps], ranks: Ranks, **more: Any) -> Steps:
    """Run a training alone in its folder, if what is there is the same one.

    The class of the configuration, or one above it, has COMMAND and PLACES; ``more`` is further identity.

    Raises:
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    if config.compile and ranks.world_size > 1:
        raise InputError("compile is for one process; leave it out where the model is split over several")
    if config.schedule.batch_size % ranks.world_size:
        raise InputError(f"batch_size {config.schedule.batch_size} does not divide by {ranks.world_size} processes")
    settings = settings_identity(_kind_of(config), config, config.PLACES) | more
    with ranks.alone_in(config.output):
        check_settings(config.output, settings)
        torch.set_num_threads(config.threads)
        yield from train(settings)


def _kind_of(config: Any) -> type[Any]:
    """The class that says what the training is; that of the command line has fields which are not part of it."""
    return next(kind for kind in type(config).__mro__ if "COMMAND" in vars(kind))


def starting_model(config: Any, seed: int) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model and the tokenizer that a training starts from, before anything is changed in them.

    Args:
        config: ``start`` names a model; without it ``tokenizer`` and ``model`` say what is made anew.
        seed: of the first values of a new one.
    """
    if config.start:
        return model_to_train(config, config.start)
    tokenizer = load_tokenizer(config.tokenizer or "")
    return build_model(config.model, tokenizer, seed), tokenizer


def model_to_train(config: TrainingOptions, place: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model in a place and its tokenizer, float32, on the CPU.

    A PEFT adapter is merged into its base, or, where the training ends with an adapter, comes with its updates apart.
    """
    folder = adapter_folder(model_place(place)) if config.export == "adapter" else None
    if folder is not None:
        return load_with_updates(folder, config.lora)
    return load_checkpoint(place, torch.float32, "cpu", False)


def load_corpus(
    config: Any, chat: ChatFormat, messages: StoredMessages | None, length_of: LengthOf, ranks: Ranks
) -> Corpus:
    """The corpus that a configuration asks for, see `CorpusSource.load`; the first process says how large it is."""
    corpus = CORPORA[config.corpus].load(vars(config), chat, messages, length_of)
    if corpus.counts and ranks.is_first:
        say(corpus.counts)
    return corpus


def place_objective(objective: nn.Module, config: TrainingOptions, models: Sequence[Any], ranks: Ranks) -> None:
    """Put an objective with its language models onto its device, rounded and split over the processes as asked."""
    device = choose_device(ranks.device(config.device))
    objective.to(device)
    if config.precision == "bfloat16":
        for model in models:
            round_frozen(model)
    shard(objective, models, ranks, device)


def take_steps(
    config: Any,
    ranks: Ranks,
    parts: Mapping[str, nn.Module],
    objective: Callable[[Sequence[Sample], Any], tuple[Tensor, Mapping[str, Tensor]]],
    samples_of_step: Callable[[int], Sequence[Sample]],
    totals_of: Callable[[Sequence[Sample]], Any],
    validate: Callable[[], dict[str, float]],
    identity: Identity,
    export: Callable[[], None],
) -> Steps:
    """Take the steps that are missing, each with the samples that it alone decides, and write the finished model.

    ``objective`` gives the share of samples in the loss, and in each of its parts, of the totals of a whole step. For
    parts, validation and identity see `run_training`.
    """

    def micro_batches_of_step(step: int) -> MicroBatches:
        samples = samples_of_step(step)
        totals = totals_of(samples)
        for part in config.schedule.micro_batches_of(ranks.share(samples)):
            yield objective(part, totals)

    directory = Path(config.output)
    yield from run_training(
        directory, parts, config.schedule, config.seed, micro_batches_of_step, validate, ranks, identity
    )
    if ranks.is_first:
        export_finished(directory, export)


def mean_losses(
    objective: Callable[[Sequence[Sample], Any], tuple[Tensor, Mapping[str, Tensor]]],
    samples: Sequence[Sample],
    totals: Any,
    ranks: Ranks,
    size: int = VALIDATION_PASS,
) -> dict[str, float]:
    """The sums of the shares of some samples in the losses; each rank takes some of the passes of ``size`` samples.

    Returns:
        "loss", and the parts by their names.
    """
    passes = list(in_parts(samples, size))
    sums: dict[str, float] = {}
    for first in range(0, len(passes), ranks.world_size):
        number = first + ranks.rank
        # All ranks of a sharded model must run it equally often.
        loss, parts = objective(passes[min(number, len(passes) - 1)], totals)
        for name, share in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, 0.0) + (share.item() if number < len(passes) else 0.0)
    return ranks.sum(sums)


def export_agent(
    config: Any,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    settings: AgentSettings,
    *beside: StoredModule | None,
    start: str | None,
    dtype: torch.dtype = torch.bfloat16,
    **more: Any,
) -> None:
    """Write the finished agent of a training with what is ``beside`` the model and its card, see `export_model`.

    Low-rank updates in the model are merged, or written as an adapter of ``start``, as the configuration says.
    """
    saved = [one for one in beside if one is not None]
    adapter = next((one.config for one in saved if isinstance(one, CommunicationAdapter)), None)
    card = training_card(config, settings, adapter=adapter, start=start, **more)
    lora, base = (config.lora, _base_of(start or "")) if config.export == "adapter" else (None, "")
    if lora is None:
        merge_updates(model)
    directory = Path(config.output) / MODEL_FOLDER
    export_model(
        model, tokenizer, directory, settings=settings, beside=saved, card=card, dtype=dtype, lora=lora, base=base
    )


def _base_of(start: str) -> str:
    """The model that an adapter is loaded on whose training started from ``start``, from wherever it is read."""
    place = model_place(start)
    folder = adapter_folder(place)
    base = start if folder is None else adapter_base(folder)
    return str(Path(base).resolve()) if Path(base).exists() else base


def training_card(config: Any, settings: AgentSettings, **more: Any) -> str:
    """The card of what a training has ended with, see `model_card`."""
    return model_card(
        config.output,
        config.COMMAND,
        role=settings.role,
        reads=settings.message_kind,
        settings=settings_of(_kind_of(config), config),
        kept="best" if config.schedule.load_best_at_end else "last",
        **more,
    )
