"""How far apart the replies of two branches are: separation from another message, alignment with the plan in words.

A branch is the same conversation with another message in it. Its states are gathered at the supervised positions, in
reading order, so that row n of every branch predicts the same token of the same reply: nothing is compared that does
not belong together, however long the messages are. Logits exist for `CHUNK_ROWS` positions at a time, in float32.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from interlat.errors import InputError

CHUNK_ROWS = 256
LN2 = math.log(2.0)


def states_at_labels(hidden_states: Float[Tensor, "B T D"], labels: Int[Tensor, "B T"]) -> Float[Tensor, "N D"]:
    """The states that predict the supervised labels, in reading order: position t - 1 predicts label t."""
    return hidden_states[:, :-1][labels[:, 1:] != -100]


def samples_of_labels(labels: Int[Tensor, "B T"]) -> Int[Tensor, "N"]:
    """For each row of `states_at_labels` the sample that it belongs to."""
    return (labels[:, 1:] != -100).nonzero()[:, 0]


def in_chunks(function: Callable[..., Tensor], tensors: Sequence[Tensor], rows: int = CHUNK_ROWS) -> Float[Tensor, "N"]:
    """``function`` applied to some rows after the others; what it computes inside is not kept for the gradient."""
    results = []
    for parts in zip(*(tensor.split(rows) for tensor in tensors), strict=True):
        if torch.is_grad_enabled():
            results.append(checkpoint(function, *parts, use_reentrant=False))
        else:
            results.append(function(*parts))
    return torch.cat(results)


def cross_entropies(states: Float[Tensor, "N D"], targets: Int[Tensor, "N"], head: nn.Module) -> Float[Tensor, "N"]:
    """``-log softmax(head(h))[target]`` of each row, in nats."""

    def chunk(states: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(_logits(states, head), targets, reduction="none")

    return in_chunks(chunk, [states, targets])


def jensen_shannon(states: Float[Tensor, "N D"], other: Float[Tensor, "N D"], head: nn.Module) -> Float[Tensor, "N"]:
    """``JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2`` with ``m = (p + q) / 2``, in nats: 0 for equal, ln 2 at most.

    The published code calls ``KL(m || p) / 2 + KL(m || q) / 2`` by this name, which has no upper bound.
    """

    def chunk(states: Tensor, other: Tensor) -> Tensor:
        log_p, log_q = _logits(states, head).log_softmax(-1), _logits(other, head).log_softmax(-1)
        log_m = torch.logaddexp(log_p, log_q) - LN2
        halves = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
        return halves.sum(dim=-1) / 2

    return in_chunks(chunk, [states, other])


def separation_loss(
    states: Float[Tensor, "N D"],
    other: Float[Tensor, "N D"],
    samples: Int[Tensor, "N"],
    head: nn.Module,
    margin: float = LN2,
) -> Float[Tensor, ""]:
    """``mean over samples of max(0, margin - mean over positions of JS)`` (Interlat, arXiv 2511.09149, its L_sep).

    Args:
        states: of the branch with the own message.
        other: of the branch with another task's message.
        samples: sample of each row.
        head: maps ``[N, D]`` to ``[N, V]``.
        margin: in nats, at most ln 2, which divergence can reach but not pass.

    Returns:
        ``margin`` for equal branches, 0 once every sample's divergence has reached it.

    Raises:
        InputError: the branches have different positions, or a margin that cannot be reached.
    """
    if not 0 < margin <= LN2:
        raise InputError(f"the margin is {margin}; a Jensen-Shannon divergence lies between 0 and ln 2 = {LN2:.4f}")
    _check(states, other)
    divergence = _mean_by_sample(jensen_shannon(states, other, head), samples)
    return (margin - divergence).clamp_min(0.0).mean()


def alignment_loss(
    states: Float[Tensor, "N D"],
    plan: Float[Tensor, "N D"],
    samples: Int[Tensor, "N"],
    head: nn.Module,
    kl_share: float = 0.7,
) -> Float[Tensor, ""]:
    """``share KL(p_plan || p) + (1 - share) (1 - cos(p_plan, p))``, the mean over positions and then over samples.

    Interlat's L_align (arXiv 2511.09149). The cosine is that of the two distributions at each position; the published
    code takes one cosine over all positions at once, in which long replies drown.

    Args:
        states: of the branch with the latent message.
        plan: of the branch with the plan in words.
        samples: sample of each row.
        head: maps ``[N, D]`` to ``[N, V]``.
        kl_share: 0.7 as published.

    Raises:
        InputError: the branches have different positions, or a share outside 0 to 1.
    """
    if not 0 <= kl_share <= 1:
        raise InputError(f"kl_share is {kl_share}; give 0 to 1")
    _check(states, plan)

    def chunk(states: Tensor, plan: Tensor) -> Tensor:
        log_p, log_plan = _logits(states, head).log_softmax(-1), _logits(plan, head).log_softmax(-1)
        wanted = log_plan.exp()
        divergence = (wanted * (log_plan - log_p)).sum(dim=-1)
        cosine = functional.cosine_similarity(wanted, log_p.exp(), dim=-1)
        return kl_share * divergence + (1 - kl_share) * (1 - cosine)

    return _mean_by_sample(in_chunks(chunk, [states, plan]), samples).mean()


def _logits(states: Tensor, head: nn.Module) -> Tensor:
    scores: Tensor = head(states)
    return scores if scores.dtype == torch.float64 else scores.float()


def _check(states: Tensor, other: Tensor) -> None:
    if states.shape != other.shape:
        raise InputError(
            f"the branches have {len(states)} and {len(other)} supervised positions; give the same reply to both"
        )


def _mean_by_sample(values: Float[Tensor, "N"], samples: Int[Tensor, "N"]) -> Float[Tensor, "S"]:
    present, index = samples.unique(return_inverse=True)
    totals = values.new_zeros(len(present)).index_add(0, index, values)
    return totals / torch.bincount(index, minlength=len(present))
