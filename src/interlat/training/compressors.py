"""What makes a few rows of a task: a model that thinks about it, or a resampler of another sender's full message."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interlat.connectors.base import padded_rows
from interlat.connectors.bridge import Bridge
from interlat.connectors.resampler import Resampler
from interlat.engine.embeddings import next_token_scores
from interlat.engine.latent import take_latent_steps
from interlat.states import StateAt
from interlat.training.cached_decoder import ColumnDecoder, Columns
from interlat.training.examples import Example, padded_ids
from interlat.training.fused_losses import entropy
from interlat.training.options import Precision

FEWEST = 20
"""Occurrences of a token that can be the start."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One conversation of the receiver, and what the message in it is made of."""

    example: Example
    """What the receiver does with the message."""
    prompt: tuple[int, ...]
    """The sender's prompt in the tokens of the model that thinks."""
    message: Float[Tensor, "T D"]
    """The full message."""
    latent_steps: int
    """How many of the rows are sent."""


class LatentRollout:
    """Reads a prompt and takes K latent steps: z_k is the last state after e_1 ... e_k, and e_(k+1) = bridge(z_k).

    A reasoner's arithmetic at play (`bridge.think_over`), here with gradients. Prompts are padded on the left, with
    true positions, so a row's latents do not depend on the rows beside it. For its arguments see `ColumnDecoder`.
    """

    def __init__(self, decoder: Any, checkpointing: bool = False) -> None:
        self.decoder = ColumnDecoder(decoder, checkpointing)

    def __call__(
        self,
        embeddings: Float[Tensor, "B T D"],
        attention_mask: Bool[Tensor, "B T"],
        bridge: nn.Module,
        start: Float[Tensor, "D"],
        latent_steps: int,
    ) -> Float[Tensor, "B K D"]:
        """The latents of every prompt: K of them, at least 1, with ``start`` the first input after the prompt."""
        first = start.to(embeddings.dtype).expand(len(embeddings), 1, -1)
        prompt = torch.cat([embeddings, first], dim=1)
        mask = nn.functional.pad(attention_mask, (0, latent_steps), value=True)
        positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
        read: list[Columns] = []
        end = 0

        def forward(inputs: Tensor) -> Tensor:
            nonlocal end
            end += inputs.shape[1]
            states, columns = self.decoder(inputs.to(embeddings.dtype), mask[:, :end], positions[:, :end], read)
            read.append(columns)
            return states[:, -1:]

        latent = forward(prompt)
        return torch.cat([latent, *take_latent_steps(forward, bridge, latent, latent_steps - 1)], dim=1)


class Reasoner(nn.Module):
    """A model that reads the sender's prompt and thinks K latents (Interlat, arXiv 2511.09149, its compression).

    Args:
        model: a causal language model.
        bridge: from a latent to the next input and to a message row.
        checkpointing: see `LatentRollout`.
        precision: what the model computes in; bfloat16 by autocast.
    """

    def __init__(
        self, model: Any, bridge: Bridge, checkpointing: bool = False, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.model = model
        self.bridge = bridge
        self.precision = precision
        # Not as a submodule: it holds the parameters of ``model``, under other names.
        self._rollout = [LatentRollout(model.get_decoder(), checkpointing)]

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What is trained, by the names that checkpoints use."""
        return {"model": self.model, "bridge": self.bridge}

    def forward(self, samples: Sequence[Sample], latent_steps: int) -> Float[Tensor, "B K D"]:
        """The first K rows of each sample, float32, on the device of the parameters."""
        embedding = self.model.get_input_embeddings()
        device = embedding.weight.device
        ids, mask = padded_ids([sample.prompt for sample in samples], "left")
        embeddings = embedding(ids.to(device))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            latents = self._rollout[0](embeddings, mask.to(device), self.bridge, self.bridge.start, latent_steps)
        return self.bridge.message(latents)


class Resampling(nn.Module):
    """A resampler of the full message: saves bytes and the receiver's time, but the sender writes all of it."""

    def __init__(self, resampler: Resampler) -> None:
        super().__init__()
        self.resampler = resampler

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What is trained, by the names that checkpoints use."""
        return {"resampler": self.resampler}

    def forward(self, samples: Sequence[Sample], latent_steps: int) -> Float[Tensor, "B K D"]:
        """The first K rows of each sample, float32, on the device of the parameters."""
        device = self.resampler.queries.device
        summed: Tensor = self.resampler(*padded_rows([sample.message for sample in samples], device), latent_steps)
        return summed


@torch.no_grad()
def uncertain_token(
    model: Any, thoughts: Iterable[tuple[Float[Tensor, "T D"], tuple[int, ...]]], state_at: StateAt
) -> int | None:
    """The token after which the model's own plans leave most open: ``argmax_v mean H(p(. | ... v))``.

    A written word tells one of the words that were likely; what else was likely is in the state that predicted it.
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
