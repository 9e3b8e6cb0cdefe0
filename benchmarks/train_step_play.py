"""Trains a random actor for some steps in this process and prints the results; `python -m benchmarks train-step`.

``python -m benchmarks.train_step_play ours|published VOCABULARY BATCH PADDED REAL SUPERVISED SIZE PASS``.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2ForCausalLM

from benchmarks.engine import small_config
from benchmarks.processes import die_first, forget_peak_memory, memory_since, peak_memory
from benchmarks.published_step import published_step
from benchmarks.train_step import Shape
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.hardware import choose_device
from interlat.training.branches import Branch, other_message
from interlat.training.examples import IGNORED, Example, Mixed
from interlat.training.loss_weights import BranchWeights
from interlat.training.objective import ActorObjective

STEPS = 3
"""Timed steps."""
LEARNING_RATE = 1e-3
"""So large that gradients that differ by a thousandth soon show in the losses."""
REPLY = 10
"""Tokens of one supervised reply of a conversation."""
Step = Callable[[Sequence[Branch]], tuple[Tensor, dict[str, Tensor]]]
"""From samples to the loss, and its parts by name."""


def random_parts(shape: Shape) -> tuple[PreTrainedModel, CommunicationAdapter]:
    """A small Qwen2 model with a large vocabulary, and an adapter without dropout, the same in every process."""
    torch.manual_seed(0)
    size = shape.hidden_size
    # At 0.02 all replies would be as good as uniform, and the branches alike.
    model = Qwen2ForCausalLM(small_config(shape.vocabulary, size, size**-0.5, shape.padded))
    # So large an output that messages tell apart what is read after them.
    adapter = CommunicationAdapter(AdapterConfig(size, size, heads=4, dropout=0.0, output_scale=5.0))
    return model, adapter


def random_branches(shape: Shape) -> list[Branch]:
    """Conversations of about ``shape.real`` positions each, of which a quarter is a message; replies are short turns.

    The message is half latent rows, half words of the plan, as in the middle of the published curriculum.
    """
    generator = torch.Generator().manual_seed(1)

    def words(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(shape.vocabulary, (count,), generator=generator).tolist())

    made = []
    for number in range(shape.batch):
        # From 10 % below the mean to 10 % above it.
        length = round(shape.real * (0.9 + 0.2 * (number + 0.5) / shape.batch))
        rows = torch.randn(length // 4, shape.hidden_size, generator=generator)
        plan = words(length // 4)
        own = Mixed(rows, len(rows) // 2, plan[len(plan) // 2 :])
        before = words(length // 8)
        after = words(length - len(before) - len(own))
        example = Example(before, after, _labels(after, shape.supervised), (1.0,) * len(after))
        rows = torch.randn(length // 5, shape.hidden_size, generator=generator)
        made.append(Branch(example, own, other_message(own, rows, words(length // 5)), plan))
    return made


def _labels(after: Sequence[int], supervised: int) -> tuple[int, ...]:
    labels, turns = [IGNORED] * len(after), -(-supervised // REPLY)
    for turn in range(turns):
        end = len(after) * (turn + 1) // turns
        start = end - min(REPLY, supervised - turn * REPLY)
        labels[start:end] = after[start:end]
    return tuple(labels)


def step_of(kind: str, model: PreTrainedModel, adapter: CommunicationAdapter, shape: Shape) -> Step:
    """The loss of a batch as ``ours`` or as ``published``."""
    if kind == "ours":
        return ActorObjective(model, adapter, BranchWeights.published()).train()
    return partial(published_step, model, adapter, padded=shape.padded)


def play(kind: str, shape: Shape, size: int) -> dict[str, Any]:
    """Median seconds of a step, peak memory above the loaded model, and the losses of every step.

    The first step is not timed. A step is taken in passes of ``size`` samples. All samples have as many labels, so the
    mean over the passes is that over the batch.
    """
    device = choose_device("auto")
    model, adapter = random_parts(shape)
    torch.nn.ModuleList([model, adapter]).to(device)
    branches, step = random_branches(shape), step_of(kind, model, adapter, shape)
    optimizer = torch.optim.AdamW([*model.parameters(), *adapter.parameters()], lr=LEARNING_RATE)
    forget_peak_memory()
    baseline = torch.cuda.memory_allocated() if device.type == "cuda" else peak_memory()
    seconds, losses = [], []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        totals: dict[str, float] = {}
        for start in range(0, len(branches), size):
            part = branches[start : start + size]
            loss, values = step(part)
            share = len(part) / len(branches)
            (loss * share).backward()
            # Reading the values also waits for an accelerator.
            for name, value in {"total": loss, **values}.items():
                totals[name] = totals.get(name, 0.0) + value.item() * share
            # What a pass has computed is free before the next one.
            del loss, values
        optimizer.step()
        losses.append(totals)
        seconds.append(time.perf_counter() - began)
    memory = torch.cuda.max_memory_allocated() - baseline if device.type == "cuda" else memory_since(baseline)
    return {"seconds": statistics.median(seconds[1:]), "memory": memory, "losses": losses}


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    if kind == "published":
        die_first()
    *shape, size = map(int, numbers)
    print(json.dumps(play(kind, Shape(*shape), size)))
