"""How the next token is chosen: greedy, or sampled with a generator for every sequence."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interlat.engine.options import Sampling as Sampling
from interlat.errors import InputError


def row_seed(run_seed: int, item_id: str, agent: str) -> int:
    """A seed in [0, 2^63) for one sequence, from the run's seed, the item and the agent.

    The same three give the same seed on every machine, in every batch and in every order.
    """
    # An item may be called what is no Unicode text.
    digest = hashlib.sha256(f"{run_seed}\x00{item_id}\x00{agent}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw_uniforms(seeds: Sequence[int], count: int) -> Float[Tensor, "B N"]:
    """``count`` numbers in [0, 1) for each seed, float64 on the CPU, one generator a sequence."""
    rows = []
    for seed in seeds:
        generator = torch.Generator(device="cpu").manual_seed(seed)
        rows.append(torch.rand(count, dtype=torch.float64, generator=generator))
    return torch.stack(rows) if rows else torch.empty(0, count, dtype=torch.float64)


def choose(logits: Float[Tensor, "B V"], sampling: Sampling, uniforms: Float[Tensor, "B"] | None) -> Int[Tensor, "B"]:
    """The next token of every sequence.

    Greedy takes the largest logit. Otherwise the sequence's uniform number u picks the first token, in the order of
    the vocabulary, at which the cumulative probability of the kept tokens passes u times their mass. A sequence's
    choice is a function of its own logits and its own u. Two logits that rounding may put in either order, as another
    batch size does, move the cumulative probabilities by no more than that rounding.

    Args:
        logits: any floating dtype; probabilities are computed in float32.
        uniforms: one number in [0, 1) a sequence; not needed for greedy.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    if uniforms is None:
        raise InputError("sampling needs a uniform number a sequence; pass seeds")
    kept = torch.softmax(logits.float() / sampling.temperature, dim=-1).double()
    if sampling.top_p < 1 or 0 < sampling.top_k < kept.shape[-1]:
        ordered, order = kept.sort(dim=-1, descending=True, stable=True)
        if sampling.top_k:
            ordered, order = ordered[:, : sampling.top_k], order[:, : sampling.top_k]
        cumulative = ordered.cumsum(dim=-1)
        # A token stays while the mass before it is below top_p of what top_k left, so the first always stays.
        stays = (cumulative - ordered) < sampling.top_p * cumulative[:, -1:]
        kept = torch.zeros_like(kept).scatter(1, order, ordered * stays)
    cumulative = kept.cumsum(dim=-1)
    threshold = uniforms.to(cumulative)[:, None] * cumulative[:, -1:]
    # Rounding may put the threshold at the whole mass, behind which there is only what was not kept.
    last = kept.shape[-1] - 1 - (kept > 0).flip(-1).int().argmax(dim=-1)
    return torch.minimum(torch.searchsorted(cumulative, threshold, right=True).squeeze(1), last)
