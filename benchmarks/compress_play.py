"""Trains a random compressed sender for some steps and prints what that took: `python -m benchmarks compress` runs it.

``python -m benchmarks.compress_play ours|plain K BATCH PROMPT REAL PADDED SUPERVISED VOCABULARY SIZE``.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, Qwen2ForCausalLM

from benchmarks.compress import Shape
from benchmarks.engine import small_config
from benchmarks.processes import die_first
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.bridge import Bridge, BridgeConfig
from interlat.engine.embeddings import input_embeddings
from interlat.engine.hardware import choose_device
from interlat.training.compression_objective import CompressionObjective
from interlat.training.compressors import Reasoner, Sample
from interlat.training.examples import IGNORED, Example
from interlat.training.loss_weights import CompressionWeights

STEPS = 2
"""Timed steps, and as many timed rollouts."""
LEARNING_RATE = 1e-4
MESSAGE = 48
"""Rows of a full message."""
WEIGHTS = CompressionWeights(distillation=1.0, mean_cosine=0.1, clip_quantile=1.0)

Step = Callable[[Sequence[Sample]], tuple[Tensor, dict[str, Tensor]]]


def random_objective(shape: Shape) -> CompressionObjective:
    """A sender with a vocabulary of its own and a frozen receiver, the same in every process.

    Latent steps of a model with large weights are chaotic: what two orders of summation differ by doubles in each step,
    and after 32 of them both sides think something else. With the usual .02 it stays as it is. The receiver needs more,
    or its replies are uniform.
    """
    size = shape.hidden_size
    torch.manual_seed(0)
    sender: Any = Qwen2ForCausalLM(small_config(1024, size, 0.02))
    torch.manual_seed(1)
    receiver: Any = Qwen2ForCausalLM(small_config(shape.vocabulary, size, size**-0.5))
    bridge = Bridge(BridgeConfig(size, size, latent_steps=(shape.latent_steps,)))
    bridge.begin(input_embeddings(sender), seed=2)
    adapter = CommunicationAdapter(AdapterConfig(size, size, heads=4, output_scale=5.0))
    return CompressionObjective(Reasoner(sender, bridge), receiver, adapter, WEIGHTS)


def random_samples(shape: Shape) -> list[Sample]:
    """Prompts and conversations from 10 % below their mean length to 10 % above."""
    generator = torch.Generator().manual_seed(3)

    def words(count: int, vocabulary: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())

    made = []
    for number in range(shape.batch):
        factor = 0.9 + 0.2 * (number + 0.5) / shape.batch
        before, after = (words(round(shape.real * factor / 2), shape.vocabulary) for _ in range(2))
        labels = [IGNORED] * len(after)
        labels[-shape.supervised :] = after[-shape.supervised :]
        example = Example(before, after, tuple(labels), (1.0,) * len(after))
        message = torch.randn(MESSAGE, shape.hidden_size, generator=generator)
        made.append(Sample(example, words(round(shape.prompt * factor), 1024), message, shape.latent_steps))
    return made


def plain_rollout(reasoner: Reasoner, sample: Sample, latent_steps: int) -> Tensor:
    """The latents of one sample, one token at a time."""
    model, bridge = reasoner.model, reasoner.bridge
    embedding = model.get_input_embeddings()
    cache = DynamicCache(config=model.config)
    inputs = embedding(torch.tensor([sample.prompt], device=embedding.weight.device))
    model.base_model(inputs_embeds=inputs, past_key_values=cache, use_cache=True)
    inputs = bridge.start[None, None]
    latents: list[Tensor] = []
    for step in range(latent_steps):
        if step:
            inputs = bridge(latents[-1])
        latents.append(model.base_model(inputs_embeds=inputs, past_key_values=cache, use_cache=True).last_hidden_state)
    return bridge.message(torch.cat(latents, dim=1))[0]


def plain_step(objective: CompressionObjective, shape: Shape) -> Step:
    """The step as the released code is shaped, with the losses of `CompressionObjective`."""
    model, adapter, weights = objective.model, objective.adapter, objective.weights
    embedding, compressor = model.get_input_embeddings(), cast(Reasoner, objective.compressor)

    def logits_of(samples: Sequence[Sample], rows: Sequence[Tensor | None]) -> Tensor:
        sequences = []
        for sample, message in zip(samples, rows, strict=True):
            pieces = [sample.example.before, sample.example.after]
            before, after = (embedding(torch.tensor(ids, device=embedding.weight.device)) for ids in pieces)
            adapted = before[:0] if message is None else adapter(message[None])[0]
            sequence = torch.cat([before, adapted, after])
            sequences.append(nn.functional.pad(sequence, (0, 0, 0, shape.padded - len(sequence))))
        logits: Tensor = model(inputs_embeds=torch.stack(sequences), use_cache=False).logits.float()
        return logits

    def at_labels(logits: Tensor, samples: Sequence[Sample], rows: Sequence[Tensor | None]) -> list[Tensor]:
        found = []
        for sample, message, one in zip(samples, rows, logits, strict=True):
            start = len(sample.example.before) + (0 if message is None else len(message))
            places = [start + i - 1 for i, label in enumerate(sample.example.labels) if label != IGNORED]
            found.append(one[places])
        return found

    def step(samples: Sequence[Sample]) -> tuple[Tensor, dict[str, Tensor]]:
        device = embedding.weight.device
        sent = [plain_rollout(compressor, sample, shape.latent_steps) for sample in samples]
        full = [sample.message.to(device) for sample in samples]
        nothing: list[Tensor | None] = [None] * len(samples)
        own = at_labels(logits_of(samples, sent), samples, sent)
        with torch.no_grad():
            with_all = at_labels(logits_of(samples, full), samples, full)
            without = at_labels(logits_of(samples, nothing), samples, nothing)
        tasks, agreements, directions = [], [], []
        for sample, message, mine, theirs, none in zip(samples, sent, own, with_all, without, strict=True):
            targets = torch.tensor([label for label in sample.example.labels if label != IGNORED], device=device)
            tasks.append(nn.functional.cross_entropy(mine, targets, reduction="sum"))
            log_p, log_q, log_r = (logits.log_softmax(-1) for logits in (mine, theirs, none))
            sure = ((log_q.exp() * log_q).sum(-1) - (log_r.exp() * log_r).sum(-1)).clamp_min(0.0)
            apart = (log_q.exp() * (log_q - log_p)).sum(-1)
            agreements.append((sure * apart).sum() / sure.sum().clamp_min(1e-6))
            one, other = (adapter(rows[None])[0].mean(0) for rows in (message, sample.message.to(device)))
            directions.append(1 - nn.functional.cosine_similarity(one, other, dim=0))
        task = torch.stack(tasks).sum() / (shape.supervised * len(samples))
        parts = {
            "task": task,
            "distillation": torch.stack(agreements).mean(),
            "mean_cosine": torch.stack(directions).mean(),
        }
        loss = task + weights.distillation * parts["distillation"] + weights.mean_cosine * parts["mean_cosine"]
        return loss, {name: part.detach() for name, part in parts.items()}

    return step


def play(kind: str, shape: Shape) -> dict[str, Any]:
    """Median seconds of a step and of its latents alone, and the losses of every step. The first step warms up."""
    device = choose_device("auto")
    objective, samples = random_objective(shape).to(device).train(), random_samples(shape)
    step: Step = objective if kind == "ours" else plain_step(objective, shape)
    optimizer = torch.optim.AdamW(objective.compressor.parameters(), lr=LEARNING_RATE)
    seconds, losses = [], []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss, parts = step(samples)
        loss.backward()
        optimizer.step()
        # Reading the values also waits for an accelerator.
        losses.append({"total": loss.item(), **{name: value.item() for name, value in parts.items()}})
        seconds.append(time.perf_counter() - began)
    rollouts = [_timed_rollout(kind, objective, samples, shape) for _ in range(STEPS)]
    return {
        "seconds": statistics.median(seconds[1:]),
        "rollout": statistics.median(rollouts),
        "losses": losses,
    }


def _timed_rollout(kind: str, objective: CompressionObjective, samples: Sequence[Sample], shape: Shape) -> float:
    began = time.perf_counter()
    if kind == "ours":
        rows = objective.compressor(samples, shape.latent_steps)
    else:
        compressor = cast(Reasoner, objective.compressor)
        rows = torch.stack([plain_rollout(compressor, sample, shape.latent_steps) for sample in samples])
    rows.square().mean().backward()
    rows.sum().item()
    return time.perf_counter() - began


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    if kind == "plain":
        die_first()
    print(json.dumps(play(kind, Shape(*map(int, numbers)))))
