"""Latent steps of a batch with gradients through all of them, with or without keeping what they computed."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interlat.engine.latent import take_latent_steps
from interlat.training.cached_decoder import ColumnDecoder, Columns


class LatentRollout:
    """Reads a prompt and takes K latent steps: z_k is the last state after e_1 ... e_k, and e_(k+1) = bridge(z_k).

    A reasoner's arithmetic at play (`bridge.think_over`), here with gradients. Prompts are padded on the
    left, with true positions, so a row's latents do not depend on the rows beside it.

    Args:
        decoder: a Hugging Face decoder without its head; its attention is "sdpa" or "eager".
        checkpointing: see `interlat.training.cached_decoder.ColumnDecoder`.
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
        """The latents of every row.

        Args:
            embeddings: prompts, padded on the left.
            attention_mask: True where a prompt is.
            bridge: maps ``[B, 1, D]`` latents to the next inputs.
            start: the first input after the prompt.
            latent_steps: K, at least 1.
        """
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
