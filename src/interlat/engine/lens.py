"""The logit lens: what states say under a language-model head."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROWS_AT_ONCE = 64


class LensReading(NamedTuple):
    """What N states say."""

    token_ids: Int[Tensor, "N k"]
    """The most probable tokens, best first."""
    probabilities: Float[Tensor, "N k"]
    """Their probabilities, a softmax over the whole vocabulary; float32."""
    entropy: Float[Tensor, "N"]
    """``-sum_v p_v log p_v``, in nats."""


@torch.no_grad()
def logit_lens(
    logits: Callable[[Float[Tensor, "N D"]], Float[Tensor, "N V"]],
    states: Float[Tensor, "N D"],
    top_k: int,
    *,
    rows_at_once: int = ROWS_AT_ONCE,
) -> LensReading:
    """Read states with a head: ``p = softmax(logits(h))`` in float32, micro-batched.

    Args:
        logits: the head, such as `Engine.logits`.
        states: after the final norm, on the device and in the dtype of the head.
        top_k: k; fewer where the vocabulary is smaller.
        rows_at_once: states of which logits exist at a time.
    """
    parts = []
    for chunk in states.split(rows_at_once):
        log_p = logits(chunk).float().log_softmax(dim=-1)
        p = log_p.exp()
        best = p.topk(min(top_k, p.shape[-1]), dim=-1)
        # Where p underflows to 0, log p may be -inf, and 0 x -inf is NaN.
        parts.append((best.indices, best.values, -torch.where(p > 0, p * log_p, 0.0).sum(dim=-1)))
    return LensReading(*map(torch.cat, zip(*parts, strict=True)))
