"""What a reply costs under one message, and how far apart it is from the same reply under another.

A branch is the same conversation with another message in it. Its states are gathered at the supervised positions, in
reading order, so that row n of every branch predicts the same token of the same reply: nothing is compared that does
not belong together, however long the messages are. Logits exist for a few positions at a time, in float32.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from interlat.errors import InputError
from interlat.training.options import LN2 as LN2

CHUNK_LOGITS = 2**23
"""Logits that exist at a time in one branch: 32 MiB, the largest block that glibc keeps for reuse; larger ones are
mapped and cleared anew each time, which takes as long as the arithmetic."""


class RowLosses(NamedTuple):
    """Losses at supervised positions, in nats, float32; None where they were not asked for."""

    cross_entropy: Float[Tensor, "N"]
    """``-log p[target]``."""
    divergence: Float[Tensor, "N"] | None
    """``JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2`` with ``m = (p + q) / 2``, p the reply under the own message and
    q that under another: 0 for equal, ln 2 at most. The published code calls ``KL(m || p) / 2 + KL(m || q) / 2`` by
    this name, which has no upper bound."""
    alignment: Float[Tensor, "N"] | None
    """``share KL(p_plan || p) + (1 - share) (1 - cos(p_plan, p))``. The cosine is that of the two distributions at
    each position; the published code takes one over all positions at once, in which long replies drown."""


def states_at_labels(hidden_states: Float[Tensor, "B T D"], labels: Int[Tensor, "B T"]) -> Float[Tensor, "N D"]:
    """The states that predict the supervised labels, in reading order: position t - 1 predicts label t."""
    return hidden_states[:, :-1][labels[:, 1:] != -100]


def samples_of_labels(labels: Int[Tensor, "B T"]) -> Int[Tensor, "N"]:
    """For each row of `states_at_labels` the sample that it belongs to."""
    return (labels[:, 1:] != -100).nonzero()[:, 0]


def losses_of_rows(
    states: Float[Tensor, "N D"],
    targets: Int[Tensor, "N"],
    head: Callable[[Tensor], Tensor],
    vocabulary_size: int,
    *,
    other: Float[Tensor, "N D"] | None = None,
    plan: Float[Tensor, "N D"] | None = None,
    kl_share: float = 0.7,
) -> RowLosses:
    """All that is lost at each position, from one pass of the head over some positions after the others.

    Gradients flow through the own branch alone, in the head as well.

    Args:
        states: of the branch with the own message.
        targets: the tokens to be predicted.
        head: maps ``[N, D]`` to ``[N, V]``, the scores that the model gives.
        vocabulary_size: V, from which follows how many rows are taken at a time.
        other: states of the branch with another task's message; gives the divergence.
        plan: states of the branch with the plan in words; gives the alignment.
        kl_share: share of the divergence in the alignment, the rest is the cosine's; 0.7 as published.

    Raises:
        InputError: the branches have different positions.
    """
    for branch in (other, plan):
        if branch is not None and branch.shape != states.shape:
            raise InputError(
                f"the branches have {len(states)} and {len(branch)} supervised positions; give the same reply to both"
            )

    def reference(states: Tensor) -> Tensor:
        # The head is trained too, and gets no gradient from what the own branch is only compared with.
        with torch.no_grad():
            return _log_probabilities(states, head)

    def chunk(targets: Tensor, states: Tensor, *branches: Tensor) -> Tensor:
        log_p = _log_probabilities(states, head)
        columns = [functional.nll_loss(log_p, targets, reduction="none")]
        rest = list(branches)
        if other is not None:
            columns.append(_jensen_shannon(log_p, reference(rest.pop(0))))
        if plan is not None:
            columns.append(_alignment(log_p, reference(rest.pop(0)), kl_share))
        return torch.stack(columns, dim=-1)

    given = [branch for branch in (other, plan) if branch is not None]
    losses = in_chunks(chunk, [targets, states, *given], max(1, CHUNK_LOGITS // vocabulary_size))
    return RowLosses(
        losses[:, 0], None if other is None else losses[:, 1], None if plan is None else losses[:, len(given)]
    )


def in_chunks(function: Callable[..., Tensor], tensors: Sequence[Tensor], rows: int) -> Float[Tensor, "N ..."]:
    """``function`` applied to ``rows`` rows after the others; what it computes inside is not kept for the gradient."""
    if len(tensors[0]) <= rows:
        return function(*tensors)
    results = []
    for parts in zip(*(tensor.split(rows) for tensor in tensors), strict=True):
        if torch.is_grad_enabled():
            results.append(checkpoint(function, *parts, use_reentrant=False))
        else:
            results.append(function(*parts))
    return torch.cat(results)


def mean_by_sample(values: Float[Tensor, "N"], samples: Int[Tensor, "N"]) -> Float[Tensor, "S"]:
    """The mean over the positions of each sample that has any, so that short replies count as much as long ones."""
    present, index = samples.unique(return_inverse=True)
    totals = values.new_zeros(len(present)).index_add(0, index, values)
    return totals / torch.bincount(index, minlength=len(present))


def hinge(divergences: Float[Tensor, "S"], margin: float = LN2) -> Float[Tensor, "S"]:
    """``max(0, margin - JS)`` of each sample (Interlat, arXiv 2511.09149, its L_sep): how much separation is lacking.

    Returns:
        ``margin`` for equal branches, 0 once the divergence has reached it.
    """
    return (margin - divergences).clamp_min(0.0)


def entropy(log_p: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows"]:
    """``-sum_v p_v log p_v`` of each distribution, in nats."""
    return -(log_p.exp() * log_p).sum(dim=-1)


def kl_divergence(log_p: Float[Tensor, "*rows V"], log_q: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows"]:
    """``KL(p || q) = sum_v p_v (log p_v - log q_v)`` of each pair of distributions, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _log_probabilities(states: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    logits: Tensor = head(states)
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(dim=-1)


def _jensen_shannon(log_p: Float[Tensor, "N V"], log_q: Float[Tensor, "N V"]) -> Float[Tensor, "N"]:
    log_m = torch.logaddexp(log_p, log_q) - LN2
    halves = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return halves.sum(dim=-1) / 2


def _alignment(log_p: Float[Tensor, "N V"], log_plan: Float[Tensor, "N V"], kl_share: float) -> Float[Tensor, "N"]:
    wanted = log_plan.exp()
    divergence = (wanted * (log_plan - log_p)).sum(dim=-1)
    cosine = functional.cosine_similarity(wanted, log_p.exp(), dim=-1)
    return kl_share * divergence + (1 - kl_share) * (1 - cosine)
