"""Which positions of a cache are worth handing over: by attention, by likeness or at random."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from interlat.engine.attention import as_model_mask, layer_windows, visible_positions
from interlat.engine.backend import masked_layers
from interlat.engine.buffer import KeyValueBuffer, as_transformers_cache
from interlat.engine.cache import KVCache, positions_ahead
from interlat.engine.hf import reference_engine
from interlat.engine.protocol import Engine
from interlat.errors import InputError

Criterion = Literal["attention", "nearest", "farthest", "random"]

SINKS = 4
"""The first positions of a sequence are kept in any case: unused attention goes there (arXiv 2309.17453)."""


@torch.no_grad()
def attention_received(engine: Engine, cache: KVCache, inputs: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B T"]:
    """What one further input of each sequence attends to: the mean over all layers and heads, float32.

    It is what selection by the attention of an observation window is made of (SnapKV, arXiv 2404.14469; H2O,
    arXiv 2306.14048), with a window of one input. The input is read for this alone: the cache stays as it is.

    Args:
        inputs: embeddings of the input, such as the next one of a thought.

    Returns:
        For each sequence a share of 1 for each position; what is missing from 1 went to the input itself.

    Raises:
        InputError: the context is full.
    """
    engine = reference_engine(engine)
    engine.check_cache(cache)
    if any(read >= engine.context_after(read) for read in cache.next_position.tolist()):
        raise InputError(f"the cache fills the context of {engine.name}, so its attention cannot be read")
    attention_mask, position_ids = positions_ahead(cache, 1)
    decoder, width = engine.model.get_decoder(), cache.width
    before = engine.config._attn_implementation
    # Only the eager implementation gives the weights away.
    engine.model.set_attn_implementation("eager")
    try:
        masks = {
            kind: as_model_mask(visible_positions(attention_mask, position_ids, width, window), "eager", inputs.dtype)
            for kind, window in layer_windows(engine.config).items()
        }
        with masked_layers(decoder, cache.layer_mask):
            output = decoder(
                inputs_embeds=inputs,
                attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
                position_ids=position_ids[:, width:],
                past_key_values=as_transformers_cache(KeyValueBuffer(width + 1, cache), len(cache.keys)),
                use_cache=True,
                output_attentions=True,
            )
    finally:
        engine.model.set_attn_implementation(before)
    total = torch.stack([weights[:, :, 0, :width].float().mean(dim=1) for weights in output.attentions])
    return total.mean(dim=0)


def likeness(cache: KVCache) -> Float[Tensor, "B T"]:
    """Cosine of what each position holds to what the last one holds: values of the middle layer, heads as one vector.

    Values and not keys, which turn with their position: two positions with the same content have different keys.
    """
    values = cache.values[len(cache.values) // 2].float().transpose(1, 2).flatten(2)
    last = cache.attention_mask.long() * torch.arange(1, cache.width + 1, device=values.device)
    own = values[torch.arange(len(cache), device=values.device), last.argmax(dim=1)]
    return functional.cosine_similarity(values, own[:, None], dim=-1)


def random_scores(cache: KVCache, seeds: Sequence[int]) -> Float[Tensor, "B T"]:
    """Random scores: from the seed of each sequence and the index of a position in it, whatever its padding."""
    scores = torch.zeros(cache.attention_mask.shape)
    for sequence, seed in enumerate(seeds):
        positions = cache.attention_mask[sequence].nonzero()[:, 0].cpu()
        scores[sequence, positions] = torch.rand(len(positions), generator=torch.Generator().manual_seed(seed))
    return scores.to(cache.attention_mask.device)


def best_positions(scores: Float[Tensor, "B T"], candidates: Bool[Tensor, "B T"], share: float) -> Bool[Tensor, "B T"]:
    """The positions with the highest scores: of each sequence ``ceil(share * its candidates)``; of equals the first.

    Raises:
        InputError: ``share`` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share of positions to keep is {share}; give 0 to 1")
    ranked = scores.masked_fill(~candidates, -math.inf).argsort(dim=1, descending=True, stable=True)
    counts = torch.tensor([math.ceil(round(share * int(n), 6)) for n in candidates.sum(dim=1)], device=scores.device)
    chosen = torch.arange(scores.shape[1], device=scores.device)[None, :] < counts[:, None]
    return torch.zeros_like(candidates).scatter(1, ranked, chosen) & candidates


def select_positions(
    engine: Engine,
    cache: KVCache,
    criterion: Criterion,
    share: float,
    *,
    protected: Bool[Tensor, "B T"],
    inputs: Float[Tensor, "B 1 D"],
    seeds: Sequence[int],
) -> KVCache:
    """A cache of the protected positions, the first `SINKS` ones and the best of the rest, all at their true positions.

    Args:
        criterion: attention: what the next input attends to, see `attention_received`; nearest and farthest: how much
            a position is like the last one, see `likeness`; random: the control of the others.
        share: of the positions that are neither protected nor first, how many are kept.
        protected: positions that are kept in any case.
        inputs: the next input of each sequence, for attention.
        seeds: one a sequence, for random.
    """
    scores: Tensor
    if criterion == "attention":
        scores = attention_received(engine, cache, inputs)
    elif criterion == "random":
        scores = random_scores(cache, seeds)
    else:
        scores = likeness(cache) * (1 if criterion == "nearest" else -1)
    first = cache.attention_mask & (cache.attention_mask.cumsum(dim=1) <= SINKS)
    sure = (protected & cache.attention_mask) | first
    return cache.trim(sure | best_positions(scores, cache.attention_mask & ~sure, share))
