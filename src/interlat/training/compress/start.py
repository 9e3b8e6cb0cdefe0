"""Where a compressed sender begins to think: behind the word after which it is least certain."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.engine.embeddings import next_token_scores
from interlat.states import StateAt
from interlat.training.divergences import entropy

FEWEST = 20
"""Occurrences of a token that can be the start."""


@torch.no_grad()
def uncertain_token(
    model: Any, thoughts: Iterable[tuple[Float[Tensor, "T D"], tuple[int, ...]]], state_at: StateAt
) -> int | None:
    """The token after which the model's own plans leave most open: ``argmax_v mean H(p(. | ... v))``.

    A written word tells one of the words that were likely; what else was likely stands in the state that predicted it.
    Latents are to carry that, so the first input of a latent thought is best one after which there is something to
    carry. Behind a random vector the first latent of a trained sender was the same for every task.

    Args:
        model: the sender, whose head reads the states.
        thoughts: the states of some of its plans (last layer, after the final norm), and their tokens.
        state_at: whether state t predicted token t or had consumed it.

    Returns:
        The token with the largest mean entropy among those that occur at least `FEWEST` times; None if none does.
    """
    head = model.get_output_embeddings()
    total = torch.zeros(model.config.get_text_config(decoder=True).vocab_size, dtype=torch.float64)
    count = torch.zeros_like(total)
    for states, tokens in thoughts:
        scores = next_token_scores(model, states.to(head.weight.device, head.weight.dtype))
        log_p = scores.float().log_softmax(dim=-1)
        entropies = entropy(log_p).double().cpu()
        consumed = torch.tensor(tokens)
        if state_at == "before_token":
            # What stands before the first token is the prompt.
            entropies, consumed = entropies[1:], consumed[:-1]
        total.index_add_(0, consumed, entropies)
        count.index_add_(0, consumed, torch.ones_like(entropies))
    mean = torch.where(count >= FEWEST, total / count.clamp_min(1), -torch.inf)
    best = int(mean.argmax())
    return best if mean[best] > -torch.inf else None
