"""How the next token is chosen: greedy, or sampled with a generator for every row."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interlat.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How to decode."""

    temperature: float = 0.0
    """0 is greedy and exact; 1 samples from the model's own distribution."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens that holds this probability (nucleus sampling, 1904.09751)."""
    top_k: int = 0
    """Sample from this many most probable tokens; 0 means all."""
    max_new_tokens: int = 64
    """Most tokens that a row may get."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; use 0 for greedy or a positive number")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; use a number above 0 and at most 1")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}; use 0 for all tokens or a positive number")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; use at least 1")


def row_seed(run_seed: int, item_id: str, agent: str) -> int:
    """A seed in [0, 2^63) for one row, from the run's seed, the item and the agent.

    The same three give the same seed on every machine, in every batch and in every order.
    """
    # An item may be called what is no Unicode text.
    digest = hashlib.sha256(f"{run_seed}\x00{item_id}\x00{agent}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw_uniforms(seeds: Sequence[int], count: int) -> Float[Tensor, "B N"]:
    """``count`` numbers in [0, 1) for each seed, float64 on the CPU, one generator a row."""
    rows = []
    for seed in seeds:
        generator = torch.Generator(device="cpu").manual_seed(seed)
        rows.append(torch.rand(count, dtype=torch.float64, generator=generator))
    return torch.stack(rows) if rows else torch.empty(0, count, dtype=torch.float64)


def choose(logits: Float[Tensor, "B V"], sampling: Sampling, uniforms: Float[Tensor, "B"] | None) -> Int[Tensor, "B"]:
    """The next token of every row.

    Greedy takes the largest logit. Otherwise the row's uniform number u picks the first token, in order of
    falling probability, at which the cumulative probability passes u times the kept mass. A row's choice is a
    function of its own logits and its own u.

    Args:
        logits: any floating dtype; probabilities are computed in float32.
        sampling: temperature, top_p, top_k.
        uniforms: one number in [0, 1) a row; not needed for greedy.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    if uniforms is None:
        raise InputError("sampling needs a uniform number a row; pass seeds")
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_k and sampling.top_k < probabilities.shape[-1]:
        ordered, order = probabilities.topk(sampling.top_k, dim=-1)
    else:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.double().cumsum(dim=-1)
    if sampling.top_p < 1:
        # A token stays while the mass before it is below top_p of what top_k left, so the first always stays.
        keep = (cumulative - ordered) < sampling.top_p * cumulative[:, -1:]
        cumulative = (ordered.double() * keep).cumsum(dim=-1)
    threshold = uniforms.to(cumulative)[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, threshold, right=True).clamp(max=cumulative.shape[-1] - 1)
    return order.gather(1, index).squeeze(1)
