"""Losses of rows under a frozen head, with their gradients taken at once instead of computing everything twice."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

RowFunction = Callable[..., tuple[Float[Tensor, "n L"], Tensor | None]]
"""Maps n states and n rows of other tensors to L losses of each row, which depend on the state of that row alone, and
something of each row that needs no gradient."""


def rows_with_gradients(
    function: RowFunction, states: Float[Tensor, "N D"], others: Sequence[Tensor], rows: int
) -> tuple[Float[Tensor, "N L"], Float[Tensor, "N"] | None]:
    """``function`` applied to some rows after the others; its logits are computed once and kept for no gradient.

    A loss of a row has a gradient in the state of that row alone, so the whole Jacobian is ``[N, L, D]``, far smaller
    than the logits. It is taken while those exist. Nothing else that ``function`` uses gets a gradient.

    Args:
        function: the losses of some rows.
        states: what the gradient flows to.
        others: what else belongs to each row.
        rows: how many are taken at a time; at least one is.
    """
    if torch.is_grad_enabled() and states.requires_grad:
        losses, *rest = _RowsWithGradients.apply(states, function, others, rows)
    else:
        losses, rest = _in_chunks(function, states, others, rows)
    return losses, rest[0] if rest else None


def _in_chunks(
    function: RowFunction, states: Tensor, others: Sequence[Tensor], rows: int
) -> tuple[Tensor, list[Tensor]]:
    parts = zip(*(tensor.split(max(1, rows)) for tensor in (states, *others)), strict=True)
    losses, rest = zip(*(function(*part) for part in parts), strict=True)
    return torch.cat(losses), [torch.cat(rest)] if rest[0] is not None else []


class _RowsWithGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, function: RowFunction, others: Sequence[Tensor], rows: int
    ) -> tuple[Tensor, ...]:
        jacobians = []

        def with_gradients(states: Tensor, *others: Tensor) -> tuple[Tensor, Tensor | None]:
            with torch.enable_grad():
                states = states.detach().requires_grad_()
                losses, rest = function(states, *others)
                # The sum over rows has each row's own gradient in that row.
                gradients = [torch.autograd.grad(loss.sum(), states, retain_graph=True)[0] for loss in losses.unbind(1)]
            jacobians.append(torch.stack(gradients, dim=1))
            return losses.detach(), rest

        losses, rest = _in_chunks(with_gradients, states, others, rows)
        ctx.save_for_backward(torch.cat(jacobians))
        ctx.mark_non_differentiable(*rest)
        return losses, *rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("nl,nld->nd", gradients[0], jacobian), None, None, None
