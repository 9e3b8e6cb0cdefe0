"""A training loop that can be killed at any moment and continued to the same result.

All random numbers of step n come from a generator that is seeded by (seed, n). So a checkpoint holds parameters,
optimiser moments and the step number, but no generator state. It is one safetensors file that is replaced atomically.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from interlat.engine.distributed import Ranks
from interlat.errors import CheckpointError, InterlatError, StorageError
from interlat.files import append_line, read_lines, write_atomically
from interlat.progress import say
from interlat.training.checkpoint_file import Header, Identity, check_identity, read_header, read_tensors, write_tensors
from interlat.training.loss_weights import BranchWeights, CompressionWeights
from interlat.training.options import Schedule

CHECKPOINT_FILE = "checkpoint.safetensors"
BEST_FILE = "best.safetensors"
METRICS_FILE = "metrics.jsonl"
EXPORTED_FILE = "exported.json"
"""Which checkpoint the finished model was made of."""
MODEL_FOLDER = "model"
SELECTED_BY = "validation_loss"
_RENAMED_METRICS = {**BranchWeights.RENAMED, **CompressionWeights.RENAMED, "played": "on_policy"}
"""Words in the names of metrics that an older version wrote -> those of today."""

MicroBatches = Iterator[tuple[Tensor, Mapping[str, Tensor]]]
"""The micro-batches of a step: the share of each in the loss, and its shares in what is logged; both add up."""


def learning_rate_factor(step: int, schedule: Schedule) -> float:
    """Factor on the peak learning rate in step ``step``, counted from 0."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress)))


def trained_parameters(parts: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """What a checkpoint holds, by name: a frozen parameter is in the model that the training started from.

    Ask before the first step: a sharded module shows whole tensors instead of its parameters for some of the time.
    """
    return {
        f"{part}/{name}": parameter
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def make_optimizer(parts: Mapping[str, nn.Module], schedule: Schedule) -> torch.optim.AdamW:
    """AdamW over named parts; all but the "model" have the learning rate of adapters; vectors do not decay."""
    groups = []
    for part, module in sorted(parts.items()):
        rate = schedule.learning_rate if part == "model" else schedule.adapter_learning_rate
        trained = [p for p in module.parameters() if p.requires_grad]
        for decay, chosen in ((schedule.weight_decay, True), (0.0, False)):
            members = [p for p in trained if (p.ndim > 1) == chosen]
            if members:
                groups.append({"params": members, "lr": rate, "peak": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def save_parameters(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    step: int,
    ranks: Ranks,
    optimizer: torch.optim.Optimizer | None = None,
    identity: Identity | None = None,
) -> None:
    """Write `trained_parameters` as one file, with the optimiser's moments if it is given. All ranks take part."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        state = {} if optimizer is None else optimizer.state.get(parameter, {})
        found = {name: parameter.detach()} | {f"{name}@{key}": torch.as_tensor(value) for key, value in state.items()}
        for key, tensor in found.items():
            one = whole(tensor)
            if ranks.is_first:
                tensors[key] = one.cpu().contiguous()
    if ranks.is_first:
        write_tensors(path, tensors, step, identity or {})


def step_of(path: Path) -> int | None:
    """After how many steps a file of `save_parameters` was written; None where there is none."""
    header = read_header(path)
    return None if header is None else header.step


def load_parameters(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Restore what `save_parameters` wrote. Raises CheckpointError: the file is damaged, or of another model."""
    tensors = read_tensors(path)
    for name, parameter in parameters.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != parameter.shape:
            raise CheckpointError(f"{path} does not fit {name}; train into another output folder")
        parameter.data.copy_(as_split(stored, parameter.data))
        state = {k.removeprefix(f"{name}@"): value for k, value in tensors.items() if k.startswith(f"{name}@")}
        if optimizer is not None and state:
            # The count of steps stays where AdamW keeps it.
            optimizer.state[parameter] = {
                key: value if key == "step" else as_split(value, parameter.data) for key, value in state.items()
            }


def load_finished(directory: Path, parts: Mapping[str, nn.Module], schedule: Schedule) -> None:
    """Give new parts the parameters that a training in ``directory`` ends with: the best or the last ones."""
    file = BEST_FILE if schedule.load_best_at_end else CHECKPOINT_FILE
    load_parameters(directory / file, trained_parameters(parts))


def check_settings(directory: str | Path, identity: Identity) -> None:
    """Refuse to continue in the folder of another training. It compares ``identity``, before models are loaded."""
    checkpoint = Path(directory) / CHECKPOINT_FILE
    header = read_header(checkpoint)
    if header is not None:
        check_identity(checkpoint, header.identity, identity)


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """The records of a training, one for each step, in order. An empty list before the first step.

    Raises:
        StorageError: a line is not a record of a step.
    """
    path = Path(directory) / METRICS_FILE
    of_step: dict[int, dict[str, Any]] = {}
    for record in read_lines(path, {"step": int}):
        if type(record.get(SELECTED_BY, 0.0)) not in (int, float):
            raise StorageError(
                f"step {record['step']} in {path} has {SELECTED_BY} {record[SELECTED_BY]!r}, expected a number; remove "
                "that line"
            )
        named = {"_".join(_RENAMED_METRICS.get(word, word) for word in name.split("_")): name for name in record}
        of_step.setdefault(record["step"], {today: record[name] for today, name in named.items()})
    return [of_step[step] for step in sorted(of_step)]


def export_finished(directory: Path, export: Callable[[], None]) -> None:
    """Make the finished model of a training that has just ended, unless it was made of this very checkpoint before.

    A checkpoint of a version that did not say what it is of is trusted only where there is no finished model yet.
    """
    header = read_header(directory / CHECKPOINT_FILE)
    assert header is not None, "written by the training"
    mark = {"step": header.step, "digest": header.digest}
    is_done = not header.digest or mark in read_lines(directory / EXPORTED_FILE)
    if is_done and (directory / MODEL_FOLDER).exists():
        return
    export()
    write_atomically(directory / EXPORTED_FILE, json.dumps(mark) + "\n")


def best_record(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first record with the lowest validation loss. None if there was no validation."""
    validated = [record for record in records if SELECTED_BY in record]
    return min(validated, key=lambda record: record[SELECTED_BY], default=None)


def is_stalled(records: Sequence[dict[str, Any]], patience: int | None) -> bool:
    """Whether the last ``patience`` validations in these records brought no better loss."""
    best = best_record(records)
    if patience is None or best is None:
        return False
    return sum(SELECTED_BY in record and record["step"] > best["step"] for record in records) >= patience


def run_training(
    directory: Path,
    parts: Mapping[str, nn.Module],
    schedule: Schedule,
    seed: int,
    micro_batches_of_step: Callable[[int], MicroBatches],
    validate: Callable[[], dict[str, float]] | None = None,
    ranks: Ranks | None = None,
    identity: Identity | None = None,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train, or continue from the checkpoint in ``directory``. Yields (finished steps, metrics) after every step.

    Args:
        directory: folder of the checkpoint, the best parameters so far and ``metrics.jsonl``. All ranks can access it.
        parts: modules to train, by name. With several ranks they are sharded, and gradients are averaged over ranks.
        schedule: optimiser settings.
        seed: seed of dropout only. ``micro_batches_of_step`` seeds its own data by the step.
        micro_batches_of_step: gives the micro-batches of this rank in one step (gradient accumulation).
        validate: deterministic function with the same result on all ranks. If the result has "loss", the parameters
            with the lowest loss are kept in a separate file.
        ranks: the processes that take part. The default is one process.
        identity: identifies the training. A checkpoint of another training is refused before anything is written.

    Raises:
        CheckpointError: the checkpoint is damaged, of another training or of another model.
        StorageError: ``metrics.jsonl`` has lines that are not steps, or the file system refused.
        InterlatError: the gradient is not finite.
    """
    ranks, identity = ranks or Ranks(), identity or {}
    checkpoint, best_file = directory / CHECKPOINT_FILE, directory / BEST_FILE
    optimizer = make_optimizer(parts, schedule)
    trained = trained_parameters(parts)
    header = read_header(checkpoint)
    start = 0 if header is None else header.step
    records = [record for record in read_metrics(directory) if record["step"] <= start]
    if header is not None:
        check_identity(checkpoint, header.identity, identity)
        load_parameters(checkpoint, trained, optimizer)
        if ranks.is_first:
            _say_what_is_there(directory, header, schedule, identity, records)
    ranks.wait()
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    metrics_file = directory / METRICS_FILE
    if ranks.is_first and not (metrics_file.exists() and metrics_file.read_bytes() == content):
        write_atomically(metrics_file, content)
    # Best parameters from behind the checkpoint, of a run that was killed between the two, are made again.
    best = best_record(records) if (step_of(best_file) or 0) <= start else None
    validated = [record for record in records if SELECTED_BY in record]
    stalled = is_stalled(validated, schedule.patience)
    for step in range(start, schedule.last_step):
        if stalled:
            return
        began = time.perf_counter()
        torch.manual_seed(seed * 1_000_003 + step + ranks.rank * 7_919_000_003)
        for module in parts.values():
            module.train()
        factor = learning_rate_factor(step, schedule)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.zero_grad(set_to_none=True)
        shares: dict[str, float] = {}
        for loss, logged in micro_batches_of_step(step):
            # A micro-batch without latent messages moves nothing where the adapter alone is trained. Ranks are averaged
            # where their shares must add up.
            if loss.requires_grad or ranks.world_size > 1:
                (loss * ranks.world_size).backward()
            for name, value in {"loss": loss.detach(), **logged}.items():
                shares[name] = shares.get(name, 0.0) + value.item()
        metrics = ranks.sum(shares)
        norm = whole(torch.nn.utils.clip_grad_norm_(list(trained.values()), schedule.max_grad_norm))
        if not torch.isfinite(norm):
            raise InterlatError(
                f"step {step + 1}: the gradient is not finite (loss {metrics['loss']}); lower the learning rate and "
                f"run again, it continues from {checkpoint}"
            )
        optimizer.step()
        metrics["gradient_norm"] = norm.item()
        finished = step + 1
        last = finished == schedule.last_step
        if validate and (finished % schedule.eval_every == 0 or last):
            for module in parts.values():
                module.eval()
            with torch.no_grad():
                metrics |= {f"validation_{name}": value for name, value in validate().items()}
        metrics["seconds"] = time.perf_counter() - began
        record = {"step": finished, **metrics}
        if ranks.is_first:
            append_line(metrics_file, record)
        if SELECTED_BY in metrics:
            validated.append(record)
            stalled = is_stalled(validated, schedule.patience)
            if best is None or metrics[SELECTED_BY] < best[SELECTED_BY]:
                best = record
                save_parameters(best_file, trained, finished, ranks, identity=identity)
        if finished % schedule.checkpoint_every == 0 or last or stalled:
            save_parameters(checkpoint, trained, finished, ranks, optimizer, identity)
        yield finished, metrics


def _say_what_is_there(
    directory: Path, header: Header, schedule: Schedule, identity: Identity, records: Sequence[dict[str, Any]]
) -> None:
    if len(records) < header.step:
        lost = header.step - len(records)
        say(f"{directory / METRICS_FILE} lacks {lost} of the {header.step} steps taken; its curve has a gap")
    if header.step >= schedule.last_step or is_stalled(records, schedule.patience):
        doubt = "" if header.identity else "; of an earlier version, its checkpoint does not say with which settings"
        say(
            f"the training in {directory} ended before, after {header.step} steps{doubt}; there is no step left to take"
        )
    elif identity and not header.identity:
        say(
            f"{directory / CHECKPOINT_FILE} is of an earlier version and does not say what it was trained with; "
            f"it goes on from step {header.step} with the settings and data of now"
        )


def shard(objective: nn.Module, models: Sequence[Any], ranks: Ranks, device: torch.device) -> None:
    """Split all parameters over the ranks (FSDP2), in place, so that a model need not fit on one device.

    Each decoder layer of the models in the objective is gathered for as long as it computes. Gradients are averaged
    over the ranks. Does nothing to a single process.
    """
    if ranks.world_size == 1:
        return
    mesh = init_device_mesh(device.type, (ranks.world_size,))
    for model in models:
        layers: list[str] = list(model._no_split_modules or ())
        for module in list(model.modules()):
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def split_again(objective: nn.Module) -> None:
    """Split what a pass without a backward one has left whole, so that `trained_parameters` sees the parameters."""
    if isinstance(objective, FSDPModule):
        objective.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be split over ranks as one; every rank must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def as_split(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another, split over the ranks as that one is."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    split: Tensor = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return split
