"""What the trainings share: their options, how one begins and continues, is validated, and writes its model."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import AdapterConfig
from interlat.engine.distributed import Ranks
from interlat.engine.hardware import choose_device
from interlat.training.card import model_card, settings_of
from interlat.training.finetune import round_frozen
from interlat.training.identity import Identity, settings_identity
from interlat.training.loop import MODEL_FOLDER, Schedule, check_settings, in_parts
from interlat.training.model import SavedBeside, export_model
from interlat.training.options import TrainingOptions as TrainingOptions
from interlat.training.sharding import check_ranks, shard

VALIDATION_PASS = 32
"""Examples in one pass of a validation."""
Sample = TypeVar("Sample")
Steps = Iterator[tuple[int, dict[str, float]]]
"""(finished steps, metrics) of a training that runs."""


def run_stage(
    kind: type[Any], config: Any, places: Collection[str], train: Callable[[Identity], Steps], ranks: Ranks, **more: Any
) -> Steps:
    """Run a training alone in its folder, if what is there is the same one.

    Args:
        kind: the dataclass of the configuration, see `settings_identity`.
        config: the configuration.
        places: its fields that name files, folders or models.
        train: the training, of the identity of its settings.
        ranks: the processes that take part.
        more: further parts of the identity.

    Raises:
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    check_ranks(ranks, config.schedule.batch_size, config.compile)
    settings = settings_identity(kind, config, places) | more
    with ranks.alone_in(config.output):
        check_settings(config.output, settings)
        torch.set_num_threads(config.threads)
        yield from train(settings)


def place_objective(objective: nn.Module, config: TrainingOptions, models: Sequence[Any], ranks: Ranks) -> None:
    """Put an objective onto its device, rounded and split over the processes as the options ask.

    Args:
        objective: the losses with all that they hold.
        config: the options.
        models: its language models.
        ranks: the processes that take part.
    """
    device = choose_device(ranks.device(config.device))
    objective.to(device)
    if config.precision == "bfloat16":
        for model in models:
            round_frozen(model)
    shard(objective, models, ranks, device)


def mean_losses(
    objective: Callable[[Sequence[Sample], Any], tuple[Tensor, Mapping[str, Tensor]]],
    samples: Sequence[Sample],
    totals: Any,
    ranks: Ranks,
    size: int = VALIDATION_PASS,
) -> dict[str, float]:
    """The sums of the shares of some samples in the losses; each rank takes some of the passes.

    Args:
        objective: from samples and totals to their share in the loss, and to that in each of its parts.
        samples: all of them, on every rank.
        totals: of all of them.
        ranks: the processes that take part.
        size: samples in one pass.

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
    command: str,
    kind: type[Any],
    config: Any,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    settings: AgentSettings,
    *,
    start: str | None = None,
    adapter: AdapterConfig | None = None,
    beside: Sequence[SavedBeside | None] = (),
    about: str | None = None,
    use: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the finished agent of a training with its card, see `model_card` and `export_model`."""
    directory = Path(config.output)
    card = training_card(command, kind, config, settings, start=start, adapter=adapter, about=about, use=use)
    saved = [one for one in beside if one is not None]
    export_model(model, tokenizer, directory / MODEL_FOLDER, settings=settings, beside=saved, card=card, dtype=dtype)


def training_card(command: str, kind: type[Any], config: Any, settings: AgentSettings, **more: Any) -> str:
    """The card of what a training has ended with, see `model_card`."""
    schedule: Schedule = config.schedule
    return model_card(
        Path(config.output),
        command,
        role=settings.role,
        reads=settings.message_kind,
        settings=settings_of(kind, config),
        kept="best" if schedule.load_best_at_end else "last",
        **more,
    )
