"""How many continuations a latent holds at once: its token mass under the language-model head, step by step.

The analysis of Interlat (arXiv 2511.09149, its figure of trained against untrained latents), for any sender.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interlat.agents.agent import load_engine
from interlat.agents.prompting import PromptMaker
from interlat.connectors.bridge import Bridge, begin_thought, finish_thought
from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.checkpoint import companion_file
from interlat.engine.hf import Engine
from interlat.errors import InputError
from interlat.store.reading import LatentStore
from interlat.training.fused_losses import entropy

TOP = 10
"""Tokens whose mass is kept for each latent."""


@dataclass(frozen=True)
class ReadLatents:
    """Think about the tasks of a store and read every latent with the model's own head."""

    model: str
    """Folder or hub id: a compressed sender, or any model (which then takes norm-matched steps)."""
    thoughts: str
    """Latent store; its tasks and prompts are used, not its states."""
    latent_steps: int = 6
    """K."""
    limit: int | None = 200
    """Only the first so many thoughts; None takes all."""
    batch_size: int = 32
    """Thoughts at once."""
    untrained: bool = False
    """Take norm-matched steps even where the model has a bridge."""

    def __post_init__(self) -> None:
        if self.latent_steps < 1 or self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise InputError("latent_steps, batch_size and limit must be at least 1")


def read_latents(config: ReadLatents) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
    """Yields (done, total, records of a batch): one record a latent.

    A record has ``item``, ``step`` (from 1), ``top`` (the masses of the `TOP` most probable tokens, best first),
    ``tokens`` (those tokens) and ``entropy`` (nats, over the whole vocabulary). The head reads the latents themselves,
    also where a projection of them is sent.

    Raises:
        InputError: the store does not say how its prompts were made.
    """
    store = LatentStore.open(config.thoughts)
    engine, settings = load_engine(config.model, dtype="float32")
    file = companion_file(config.model, Bridge.FILE)
    bridge = Bridge.load(file.parent, engine.device) if file and not config.untrained else None
    identity = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    # A compressed sender reads prompts as in its training, any other model as in the collection.
    options = settings.template if file else None
    make_prompt = PromptMaker.as_collected(store.manifest.settings, engine.tokenizer, options)
    items = list(store.ids)[: config.limit]
    for start in range(0, len(items), config.batch_size):
        batch = items[start : start + config.batch_size]
        prompts = [make_prompt(store.entry(item).task) for item in batch]
        if bridge is None:
            _, latents = engine.think(engine.prefill(prompts, room=config.latent_steps), config.latent_steps, identity)
        else:
            memory = begin_thought(engine, bridge, prompts, config.latent_steps)
            _, latents = finish_thought(engine, bridge, memory, config.latent_steps)
        yield start + len(batch), len(items), list(_records(engine, batch, latents))


def _records(engine: Engine, items: Sequence[str], latents: Float[Tensor, "B K D"]) -> Iterator[dict[str, Any]]:
    for item, rows in zip(items, latents, strict=True):
        log_p = engine.logits(rows.to(engine.dtype)).float().log_softmax(dim=-1)
        masses, tokens = log_p.exp().topk(min(TOP, log_p.shape[-1]), dim=-1)
        entropies = entropy(log_p)
        for step in range(len(rows)):
            yield {
                "item": item,
                "step": step + 1,
                "top": [round(mass, 6) for mass in masses[step].tolist()],
                "tokens": [engine.tokenizer.decode([token]) for token in tokens[step].tolist()],
                "entropy": round(float(entropies[step]), 6),
            }
