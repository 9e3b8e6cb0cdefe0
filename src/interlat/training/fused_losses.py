"""The losses of a reply at each supervised position, with the LM head over a few positions at a time.

A branch is the same conversation with another message in it. Its states are gathered at the supervised positions, in
reading order, so that position n of every branch predicts the same token of the same reply, however long the messages
are. Logits exist only for a few positions at a time, in float32.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from interlat.errors import InputError

CHUNK_LOGITS = 2**23
"""Logits that exist at a time in one branch: 32 MiB, the largest block that glibc keeps for reuse; larger ones are
mapped and cleared anew each time, which takes as long as the arithmetic."""

LN2 = math.log(2.0)

Head = Callable[[Tensor], Tensor]
"""Maps states ``[N, D]`` to the scores ``[N, V]`` that the model gives."""
RowFunction = Callable[..., tuple[Float[Tensor, "n L"], Tensor]]
"""Maps n states and n rows of other tensors to L losses of each row, which depend on the state of that row alone, and
something of each row that needs no gradient."""


class Scores:
    """The scores of every token that an LM head gives for some states, at least float32."""

    def __init__(self, logits: Float[Tensor, "n V"]) -> None:
        self.logits = logits if logits.dtype == torch.float64 else logits.float()

    @functools.cached_property
    def log_p(self) -> Float[Tensor, "n V"]:
        """Log-probabilities, in nats."""
        return self.logits.log_softmax(dim=-1)


PositionLoss = Callable[[Scores, Mapping[str, Scores]], tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]]
"""Maps the scores of the own branch, and without gradient those of the references, to a loss of each position, and
something of each position that needs no gradient."""


class PositionLosses(NamedTuple):
    """Losses at supervised positions, in nats: ``-log p[target]``, and those that were asked for with their asides."""

    cross_entropy: Float[Tensor, "N"]
    terms: list[Float[Tensor, "N"]]
    asides: list[Float[Tensor, "N"] | None]


def states_at_labels(hidden_states: Float[Tensor, "B T D"], labels: Int[Tensor, "B T"]) -> Float[Tensor, "N D"]:
    """The states that predict the supervised labels, in reading order: position t - 1 predicts label t."""
    return hidden_states[:, :-1][labels[:, 1:] != -100]


def samples_of_labels(labels: Int[Tensor, "B T"]) -> Int[Tensor, "N"]:
    """For each row of `states_at_labels` the sample that it belongs to."""
    return (labels[:, 1:] != -100).nonzero()[:, 0]


def position_losses(
    states: Float[Tensor, "N D"],
    targets: Int[Tensor, "N"],
    head: Head,
    vocabulary_size: int,
    terms: Sequence[PositionLoss] = (),
    references: Mapping[str, Float[Tensor, "N D"]] | None = None,
    *,
    frozen_head: bool = False,
) -> PositionLosses:
    """All losses at each position, from one pass of the LM head that takes a few positions at a time.

    Gradients flow only through the branch with the right message, in the head too.

    Args:
        states: states of the branch with the right message.
        targets: tokens to predict.
        head: LM head of the model that replies.
        vocabulary_size: V, which decides how many positions are taken at a time.
        terms: losses beside the cross-entropy.
        references: states of the branches that the terms compare with, by name.
        frozen_head: whether the head is not trained. Then logits are computed once instead of twice.

    Raises:
        InputError: the branches have different positions.
    """
    references = references or {}
    for branch in references.values():
        if branch.shape != states.shape:
            raise InputError(
                f"the branches have {len(states)} and {len(branch)} supervised positions; give the same reply to all"
            )

    asides: list[bool] = []

    def chunk(states: Tensor, targets: Tensor, *branches: Tensor) -> tuple[Tensor, Tensor]:
        own = Scores(head(states))
        # A head that is trained gets no gradient from what the own branch is only compared with.
        with torch.no_grad():
            others = {name: Scores(head(branch)) for name, branch in zip(references, branches, strict=True)}
        cross_entropy = functional.nll_loss(own.log_p, targets, reduction="none")
        found = [term(own, others) for term in terms]
        asides[:] = [aside is not None for _, aside in found]
        quiet = [aside.detach() for _, aside in found if aside is not None]
        losses = torch.stack([cross_entropy, *(loss for loss, _ in found)], dim=-1)
        return losses, torch.stack(quiet, dim=-1) if quiet else losses.new_zeros(len(states), 0)

    rows, others = CHUNK_LOGITS // vocabulary_size, [targets, *references.values()]
    losses, quiet = (rows_with_gradients if frozen_head else _in_chunks)(chunk, states, others, rows)
    left = iter(quiet.unbind(dim=-1))
    return PositionLosses(losses[:, 0], list(losses[:, 1:].unbind(dim=-1)), [next(left) if x else None for x in asides])


def _in_chunks(function: RowFunction, states: Tensor, others: Sequence[Tensor], rows: int) -> tuple[Tensor, Tensor]:
    """``function`` applied to ``rows`` rows after the others; what it computes inside is not kept for the gradient."""
    if len(states) <= rows:
        return function(states, *others)
    again = functools.partial(checkpoint, function, use_reentrant=False) if torch.is_grad_enabled() else function
    return _joined(again, states, others, rows)


def _joined(function: RowFunction, states: Tensor, others: Sequence[Tensor], rows: int) -> tuple[Tensor, Tensor]:
    parts = zip(*(tensor.split(max(1, rows)) for tensor in (states, *others)), strict=True)
    losses, rest = zip(*(function(*part) for part in parts), strict=True)
    return torch.cat(losses), torch.cat(rest)


def rows_with_gradients(
    function: RowFunction, states: Float[Tensor, "N D"], others: Sequence[Tensor], rows: int
) -> tuple[Float[Tensor, "N L"], Float[Tensor, "N ..."]]:
    """``function`` applied to some rows after the others; its logits are computed once and kept for no gradient.

    A loss of a row has a gradient in the state of that row alone, so the whole Jacobian is ``[N, L, D]``, far smaller
    than the logits. It is taken while those exist, for ``rows`` rows at a time, at least one. Neither ``others``, which
    belong to the rows, nor anything else that ``function`` uses gets a gradient.
    """
    if not (torch.is_grad_enabled() and states.requires_grad):
        return _joined(function, states, others, rows)
    losses, rest = _RowsWithGradients.apply(states, function, others, rows)
    return losses, rest


class _RowsWithGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, function: RowFunction, others: Sequence[Tensor], rows: int
    ) -> tuple[Tensor, Tensor]:
        jacobians = []

        def with_gradients(states: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                states = states.detach().requires_grad_()
                losses, rest = function(states, *others)
                # The sum over rows has each row's own gradient in that row.
                gradients = [torch.autograd.grad(loss.sum(), states, retain_graph=True)[0] for loss in losses.unbind(1)]
            jacobians.append(torch.stack(gradients, dim=1))
            return losses.detach(), rest

        losses, rest = _joined(with_gradients, states, others, rows)
        ctx.save_for_backward(torch.cat(jacobians))
        ctx.mark_non_differentiable(rest)
        return losses, rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("nl,nld->nd", gradients[0], jacobian), None, None, None


def entropy(log_p: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows"]:
    """``-sum_v p_v log p_v`` of each distribution, in nats."""
    return -(log_p.exp() * log_p).sum(dim=-1)


def kl_divergence(log_p: Float[Tensor, "*rows V"], log_q: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows"]:
    """``KL(p || q) = sum_v p_v (log p_v - log q_v)`` of each pair of distributions, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def jensen_shannon(log_p: Float[Tensor, "N V"], log_q: Float[Tensor, "N V"]) -> Float[Tensor, "N"]:
    """``JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2`` with ``m = (p + q) / 2``: 0 for equal, ln 2 at most.

    The published code calls ``KL(m || p) / 2 + KL(m || q) / 2`` by this name, which has no upper bound.
    """
    log_m = torch.logaddexp(log_p, log_q) - LN2
    halves = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return halves.sum(dim=-1) / 2


def mean_by_sample(values: Float[Tensor, "N"], samples: Int[Tensor, "N"]) -> Float[Tensor, "S"]:
    """The mean over the positions of each sample that has any. Short replies count as much as long ones."""
    present, index = samples.unique(return_inverse=True)
    totals = values.new_zeros(len(present)).index_add(0, index, values)
    return totals / torch.bincount(index, minlength=len(present))
