"""A training loop that can be killed at any moment and continued to the same result.

Everything that is random in step n is drawn from a generator seeded by (seed, n), so a checkpoint needs parameters,
optimiser moments and the step number, and no generator state. All of it is one safetensors file, replaced atomically.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from interlat.errors import CheckpointError, InterlatError
from interlat.files import append_line, atomic_path, read_lines, write_atomically

CHECKPOINT_FILE = "checkpoint.safetensors"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Schedule:
    """How the parameters are moved."""

    steps: int = 1000
    """Optimiser steps over which the learning rate runs its course."""
    stop_at: int | None = None
    """End after this many steps, with the learning rate where it then is; None ends after `steps`."""
    batch_size: int = 32
    """Examples in one step."""
    learning_rate: float = 1e-3
    """Peak learning rate; linear warm-up, then cosine to a tenth."""
    adapter_learning_rate: float = 2e-3
    """Peak learning rate of the adapter."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    validate_every: int = 200
    """Steps between validations."""

    @property
    def last_step(self) -> int:
        """Steps that are really taken."""
        return self.steps if self.stop_at is None else min(self.steps, self.stop_at)


def learning_rate_factor(step: int, schedule: Schedule) -> float:
    """Factor on the peak learning rate in step ``step``, counted from 0."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(parts: dict[str, nn.Module], schedule: Schedule) -> torch.optim.AdamW:
    """AdamW over named parts; the part called "adapter" has its own learning rate; vectors do not decay."""
    groups = []
    for part, module in sorted(parts.items()):
        rate = schedule.adapter_learning_rate if part == "adapter" else schedule.learning_rate
        trained = [p for p in module.parameters() if p.requires_grad]
        for decay, chosen in ((schedule.weight_decay, True), (0.0, False)):
            members = [p for p in trained if (p.ndim > 1) == chosen]
            if members:
                groups.append({"params": members, "lr": rate, "peak": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def save_checkpoint(directory: Path, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write parameters, optimiser moments and the number of finished steps as one file."""
    tensors: dict[str, Tensor] = {}
    for part, module in parts.items():
        for name, parameter in _trained(module):
            tensors[f"{part}/{name}"] = parameter.detach()
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{part}/{name}@{key}"] = torch.as_tensor(value)
    with atomic_path(directory / CHECKPOINT_FILE) as temporary:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, temporary, metadata={"step": str(step)})


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What a checkpoint holds: a frozen parameter is in the model that the training started from."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def load_checkpoint(directory: Path, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> int:
    """Restore what `save_checkpoint` wrote; the number of finished steps, 0 without a checkpoint.

    Raises:
        CheckpointError: the checkpoint is of another model.
    """
    path = directory / CHECKPOINT_FILE
    if not path.exists():
        return 0
    from safetensors import safe_open

    tensors = load_file(path)
    with safe_open(path, "pt") as handle:
        step = int((handle.metadata() or {})["step"])
    for part, module in parts.items():
        for name, parameter in _trained(module):
            stored = tensors.get(f"{part}/{name}")
            if stored is None or stored.shape != parameter.shape:
                raise CheckpointError(f"{path} does not fit {part}/{name}; train into another output folder")
            parameter.data.copy_(stored)
            prefix = f"{part}/{name}@"
            state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            # The count of steps stays where AdamW keeps it.
            state = {key: value if key == "step" else value.to(parameter.device) for key, value in state.items()}
            if state:
                optimizer.state[parameter] = state
    return step


def run_training(
    directory: Path,
    parts: dict[str, nn.Module],
    schedule: Schedule,
    seed: int,
    loss_of_step: Callable[[int], tuple[Tensor, dict[str, float]]],
    validate: Callable[[], dict[str, float]] | None = None,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train, or go on from the checkpoint in ``directory``; yields (finished steps, metrics) after every step.

    Args:
        directory: holds the checkpoint and ``metrics.jsonl``.
        parts: what is trained, by name.
        schedule: optimiser settings.
        seed: of dropout and of nothing else; ``loss_of_step`` seeds its own data by the step.
        loss_of_step: the loss of one step and what to log of it.
        validate: a deterministic validation, or None.

    Raises:
        CheckpointError: the checkpoint is of another model.
        InterlatError: the loss is not finite.
    """
    optimizer = make_optimizer(parts, schedule)
    start = load_checkpoint(directory, parts, optimizer)
    kept = [record for record in read_lines(directory / METRICS_FILE) if record["step"] <= start]
    write_atomically(directory / METRICS_FILE, "".join(json.dumps(record) + "\n" for record in kept))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(start, schedule.last_step):
        began = time.perf_counter()
        torch.manual_seed(seed * 1_000_003 + step)
        for module in parts.values():
            module.train()
        factor = learning_rate_factor(step, schedule)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        loss, metrics = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.gradient_clip)
        if not torch.isfinite(norm):
            raise InterlatError(
                f"step {step + 1}: the gradient is not finite (loss {loss.item()}); lower the learning rate and run "
                f"again, it continues from {directory / CHECKPOINT_FILE}"
            )
        optimizer.step()
        metrics = {"loss": loss.item(), "gradient_norm": norm.item(), **metrics}
        finished = step + 1
        if validate and (finished % schedule.validate_every == 0 or finished == schedule.last_step):
            for module in parts.values():
                module.eval()
            with torch.no_grad():
                metrics |= {f"validation_{name}": value for name, value in validate().items()}
        metrics["seconds"] = time.perf_counter() - began
        append_line(directory / METRICS_FILE, {"step": finished, **metrics})
        if finished % schedule.checkpoint_every == 0 or finished == schedule.last_step:
            save_checkpoint(directory, parts, optimizer, finished)
        yield finished, metrics
