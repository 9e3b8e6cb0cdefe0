"""What weights of int8 cost and bring: next-token scores against float32, bytes, and latent steps a second.

bfloat16 is measured, too, because an int8 model also computes in bfloat16 and so has its rounding. Needs torchao
and the models (`interlat models fetch`).
"""

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.records import comparison
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Tokens
from interlat.tasks.sources import TaskSource

MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")
BATCHES = (1, 8)


@dataclass(frozen=True)
class Effort:
    """How much is computed."""

    models: tuple[str, ...]
    texts: int
    steps: int
    rounds: int


EFFORT = {True: Effort(MODELS[:1], 8, 8, 2), False: Effort(MODELS, 100, 32, 4)}


@dataclass
class Measured:
    """One model in one number format."""

    scores: Tensor
    """Log probabilities ``[T, V]`` at every position but the first of all texts, float32."""
    size: int
    """Bytes of the parameters; tied ones count once."""
    steps_per_second: dict[int, float]


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one record a format and metric; the reference is float32, or bfloat16 for the latent steps.

    ``loss`` is the cross-entropy in nats a token; ``divergence`` the mean KL divergence from float32, beside which
    the reference is the loss itself; ``first_choice`` counts positions with the same likeliest token.
    """
    effort = EFFORT[quick]
    for model in effort.models:
        found: dict[str, Measured] = {}
        targets = torch.empty(0, dtype=torch.long)
        for dtype in ("float32", "bfloat16", "int8"):
            engine = HFEngine.load(model, dtype=dtype)
            texts = [task.text for task in TaskSource("arithmetic", count=effort.texts).load("solve").tasks]
            ids = [engine.tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
            targets = torch.cat([row[0, 1:] for row in ids])
            found[dtype] = _measure(engine, ids, effort)
            del engine
            gc.collect()
        yield from _compare(model, found, targets)


def _compare(model: str, found: dict[str, Measured], targets: Tensor) -> Iterator[dict[str, Any]]:
    exact = found["float32"]
    loss = _loss(exact.scores, targets)
    for dtype in ("bfloat16", "int8"):
        one, case = found[dtype], f"{model} {dtype} / float32"
        divergence = (exact.scores.exp() * (exact.scores - one.scores)).sum(-1).mean().item()
        same = (exact.scores.argmax(-1) == one.scores.argmax(-1)).sum().item()
        for metric, unit, ours, reference, larger in (
            ("loss", "nats", _loss(one.scores, targets), loss, False),
            ("divergence", "nats", divergence, loss, False),
            ("first_choice", "positions", same, len(targets), True),
            ("weights", "bytes", one.size, exact.size, False),
        ):
            yield comparison("int8", case, metric, unit, ours, reference, larger_is_better=larger)
    for batch in found["int8"].steps_per_second:
        ours, reference = (found[dtype].steps_per_second[batch] for dtype in ("int8", "bfloat16"))
        case = f"{model} int8 / bfloat16, batch {batch}"
        yield comparison("int8", case, "latent_steps_per_second", "steps/s", ours, reference, larger_is_better=True)


def _measure(engine: HFEngine, ids: list[Tensor], effort: Effort) -> Measured:
    scores = []
    for row in ids:
        # As the engine computes it and not as the model's modules do.
        _, (states,) = engine.prefill_hidden([[Tokens(tuple(row[0].tolist()))]])
        scores.append(engine.logits(states[:-1]).float().log_softmax(-1))
    tensors = {one.data_ptr(): one for one in map(_stored, engine.model.parameters())}
    return Measured(
        torch.cat(scores),
        sum(one.numel() * one.element_size() for one in tensors.values()),
        {batch: _latent_steps(engine, ids, batch, effort) for batch in BATCHES},
    )


def _stored(parameter: Tensor) -> Tensor:
    """What holds the numbers of a parameter; scales of int8 rows, a thousandth of it, are left out."""
    stored: Tensor = getattr(parameter, "qdata", parameter)
    return stored


def _latent_steps(engine: HFEngine, ids: list[Tensor], batch: int, effort: Effort) -> float:
    prompts = [[Tokens(tuple(row[0].tolist()))] for row in ids[:batch]]
    best = float("inf")
    for _ in range(effort.rounds):
        memory = engine.prefill(prompts, spare=effort.steps)
        began = time.perf_counter()
        engine.think(memory, effort.steps, lambda states: states)
        best = min(best, time.perf_counter() - began)
    return batch * effort.steps / best


def _loss(scores: Tensor, targets: Tensor) -> float:
    return -scores.gather(1, targets[:, None]).mean().item()
