"""What a few latents can say first: the words of the plan that were most open when they were written."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.engine.lens import logit_lens
from interlat.training.divergences import CHUNK_LOGITS, kl_divergence

OPEN = 0.1
"""Share of the largest entropy in a message from which a state leaves something open."""


@torch.no_grad()
def open_states(states: Float[Tensor, "T D"], head: Float[Tensor, "V D"], count: int) -> Float[Tensor, "rows D"]:
    """The states after which a language-model head leaves most open, in their order.

    At most ``count``, and none with less than `OPEN` of the largest entropy: which of the sure words is the least sure
    one differs from plan to plan by chance, and so would the latent that the first open word belongs to.

    Args:
        states: of the last layer, after the final norm.
        head: weights of the head.
        count: how many at most.
    """
    rows_at_once = max(1, CHUNK_LOGITS // len(head))
    entropies = logit_lens(lambda h: h @ head.t(), states.to(head.dtype), 0, rows_at_once=rows_at_once).entropy
    best = entropies.topk(min(count, len(states)))
    chosen = best.indices[best.values >= OPEN * best.values[0]]
    return states[chosen.sort().values]


def hint(
    rows: Sequence[Float[Tensor, "_ D"]], messages: Sequence[Float[Tensor, "_ D"]], head: Float[Tensor, "V D"]
) -> Float[Tensor, "B"]:
    """``mean_k KL(softmax(W h_(t_k)) || softmax(W z_k))`` of each message, in nats.

    z_1, z_2 ... are its rows and t_1 < t_2 < ... the positions of the states h of the full message that leave most
    open (`open_states`). A written word tells one of those that were likely, and what else was likely stands in the
    state before it. A receiver learns nothing from a row that says nothing, and such a row gets no gradient that tells
    it what to say; the hint does, in the sender's own language.

    Args:
        rows: of each message, at least one; the gradient flows through these alone.
        messages: the full messages; where fewer states leave something open, only the first rows get a hint.
        head: weights of the language-model head of the model that made the full messages.
    """
    losses = []
    for short, message in zip(rows, messages, strict=True):
        said = open_states(message.to(head), head, len(short))
        target, found = _log_p(said, head), _log_p(short[: len(said)], head)
        losses.append(kl_divergence(target, found).mean())
    return torch.stack(losses)


def _log_p(states: Float[Tensor, "N D"], head: Float[Tensor, "V D"]) -> Float[Tensor, "N V"]:
    return (states.to(head.dtype) @ head.t()).log_softmax(dim=-1)
