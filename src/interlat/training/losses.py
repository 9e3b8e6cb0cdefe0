"""Losses on supervised positions only."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from interlat.errors import InputError


def supervised_cross_entropy(
    hidden_states: Float[Tensor, "B T D"],
    labels: Int[Tensor, "B T"],
    head: nn.Module,
    weights: Float[Tensor, "B T"] | None = None,
    soft_targets: Float[Tensor, "S V"] | None = None,
    soft_positions: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N"]]:
    """Next-token cross-entropy where there is a label.

    The state at position t - 1 predicts the label at position t. The head is applied to the states of supervised
    positions only, so logits of shape [B, T, V] never exist; the arithmetic is float32.

    Args:
        hidden_states: post-final-norm states.
        labels: token ids, -100 where nothing is to be learned. Position 0 cannot be predicted and is ignored.
        head: maps ``[N, D]`` to ``[N, V]``.
        weights: weight of each label; None weighs all alike.
        soft_targets: distributions that replace the labels at ``soft_positions``, in reading order. Where a label is
            one draw from a known distribution, the distribution gives the same expected gradient without the noise
            of the draw.
        soft_positions: where those labels stand; a subset of the supervised positions.

    Returns:
        The weighted mean in nats, and the unweighted loss of each supervised position in reading order.

    Raises:
        InputError: no position is supervised.
    """
    targets = labels[:, 1:]
    supervised = targets != -100
    if not bool(supervised.any()):
        raise InputError("no supervised token in the batch; check the chat template and the label spans")
    logits = head(hidden_states[:, :-1][supervised]).float()
    losses = functional.cross_entropy(logits, targets[supervised], reduction="none")
    if soft_targets is not None and soft_positions is not None:
        soft = soft_positions[:, 1:][supervised]
        losses = losses.masked_scatter(soft, -(soft_targets * logits[soft].log_softmax(dim=-1)).sum(dim=-1))
    if weights is None:
        return losses.mean(), losses.detach()
    chosen = weights[:, 1:][supervised].to(losses)
    return (losses * chosen).sum() / chosen.sum(), losses.detach()
