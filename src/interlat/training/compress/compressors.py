"""What makes a few rows of a task: a model that thinks about it, or a resampler of another sender's full message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.connectors.base import padded_rows
from interlat.connectors.bridge import Bridge
from interlat.connectors.resampler import Resampler
from interlat.training.compress.rollout import LatentRollout
from interlat.training.examples import Example
from interlat.training.forward import Precision


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
        width = max(len(sample.prompt) for sample in samples)
        ids = torch.zeros(len(samples), width, dtype=torch.long)
        mask = torch.zeros(len(samples), width, dtype=torch.bool)
        for row, sample in enumerate(samples):
            ids[row, width - len(sample.prompt) :] = torch.tensor(sample.prompt)
            mask[row, width - len(sample.prompt) :] = True
        embeddings = embedding(ids.to(device))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            latents = self._rollout[0](embeddings, mask.to(device), self.bridge, self.bridge.start, latent_steps)
        return self.bridge.message(latents)


class Resampling(nn.Module):
    """A resampler of the full message: saves bytes and the receiver's time, but the sender writes all of it.

    Args:
        resampler: what is trained.
    """

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
