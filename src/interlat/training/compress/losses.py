"""What a compressed message must do to a frozen receiver that the full message does."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from interlat.errors import InputError
from interlat.training.divergences import CHUNK_LOGITS, entropy, kl_divergence
from interlat.training.fused_losses import rows_with_gradients
from interlat.training.options import CompressionWeights as CompressionWeights

SMALLEST = 1e-6


class CompressionRows(NamedTuple):
    """Losses at supervised positions, in nats, float32; None where they were not asked for."""

    cross_entropy: Float[Tensor, "N"]
    """``-log p[target]`` under the compressed message."""
    divergence: Float[Tensor, "N"] | None
    """``tau^2 KL(p_full || p)`` at temperature tau."""
    certainty: Float[Tensor, "N"] | None
    """``max(0, H_none - H_full)``: by how much the full message lowers the receiver's entropy; no gradient."""


def compression_rows(
    states: Float[Tensor, "N D"],
    targets: Int[Tensor, "N"],
    head: Callable[[Tensor], Tensor],
    vocabulary_size: int,
    *,
    full: Float[Tensor, "N D"] | None = None,
    none: Float[Tensor, "N D"] | None = None,
    temperature: float = 1.0,
) -> CompressionRows:
    """The losses at each position, from one pass of the head over some positions after the others.

    Args:
        states: of the receiver with the compressed message; the gradient flows through these alone.
        targets: the tokens to be predicted.
        head: of the receiver; maps ``[N, D]`` to ``[N, V]``; it is frozen and gets no gradient.
        vocabulary_size: V, from which follows how many rows are taken at a time.
        full: its states with the full message.
        none: its states without a message; both or none of the two.
        temperature: tau.

    Raises:
        InputError: the branches have different positions.
    """
    for branch in (full, none):
        if branch is not None and branch.shape != states.shape:
            raise InputError(
                f"the branches have {len(states)} and {len(branch)} supervised positions; give the same reply to all"
            )

    def chunk(states: Tensor, targets: Tensor, *branches: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = _wide(head(states))
        log_p = logits.log_softmax(dim=-1)
        columns, certainty = [functional.nll_loss(log_p, targets, reduction="none")], None
        if branches:
            with torch.no_grad():
                with_all, without = (_wide(head(branch)) for branch in branches)
                log_q = with_all.log_softmax(dim=-1)
                certainty = (entropy(without.log_softmax(dim=-1)) - entropy(log_q)).clamp_min(0.0)
                if temperature != 1:
                    log_q = (with_all / temperature).log_softmax(dim=-1)
            if temperature != 1:
                log_p = (logits / temperature).log_softmax(dim=-1)
            columns.append(temperature**2 * kl_divergence(log_q, log_p))
        return torch.stack(columns, dim=-1), certainty

    branches = [] if full is None or none is None else [full, none]
    losses, certainty = rows_with_gradients(chunk, states, [targets, *branches], CHUNK_LOGITS // vocabulary_size)
    return CompressionRows(losses[:, 0], losses[:, 1] if branches else None, certainty)


def agreement_by_sample(
    divergence: Float[Tensor, "N"],
    certainty: Float[Tensor, "N"],
    samples: Int[Tensor, "N"],
    clip_quantile: float,
    floor: float = 0.0,
) -> Float[Tensor, "S"]:
    """``sum_t w_t KL_t / sum_t w_t`` of each sample: agree where the full message made the receiver sure.

    ``w_t = max(min(certainty_t, q), floor)`` with q the quantile of the sample's positive certainties; a sample without
    any weight gets 0. The released code takes the quantile and both sums over the batch, so that its samples change
    each other's weights; here each sample has its own.

    Args:
        divergence: of each position.
        certainty: of each position, without gradient.
        samples: the sample of each position, ascending.
        clip_quantile: 1 cuts nothing.
        floor: the least weight, in nats.
    """
    means = []
    for sample in samples.unique():
        chosen = samples == sample
        weights = certainty[chosen]
        positive = weights[weights > SMALLEST]
        if not len(positive) and not floor:
            means.append(divergence[chosen].sum() * 0.0)
            continue
        if len(positive):
            weights = weights.clamp_max(torch.quantile(positive, clip_quantile))
        weights = weights.clamp_min(floor)
        means.append((weights * divergence[chosen]).sum() / weights.sum())
    return torch.stack(means)


def direction(
    rows: Float[Tensor, "B K D"],
    mask: Float[Tensor, "B K"],
    full: Float[Tensor, "B L D"],
    full_mask: Float[Tensor, "B L"],
) -> Float[Tensor, "B"]:
    """``1 - cos(mean_k a_k, mean_l b_l)`` of each message, where a are its adapted rows and b those of the full one."""
    return 1 - functional.cosine_similarity(_mean_row(rows, mask), _mean_row(full, full_mask).detach(), dim=-1)


def _mean_row(rows: Tensor, mask: Tensor) -> Tensor:
    real = mask.unsqueeze(-1).to(rows.dtype)
    return (rows * real).sum(dim=1) / real.sum(dim=1)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
