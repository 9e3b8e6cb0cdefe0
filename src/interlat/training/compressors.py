"""What makes a few rows of a task: a model that thinks about it, or a resampler of another sender's full message."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicLayer

from interlat.connectors.base import padded_rows
from interlat.connectors.bridge import Bridge
from interlat.connectors.resampler import Resampler
from interlat.engine.attention import as_model_mask, layer_windows, visible_positions
from interlat.engine.embeddings import next_token_scores
from interlat.engine.latent import take_latent_steps
from interlat.engine.rotary import check_not_crossing, original_length
from interlat.states import StateAt
from interlat.training.examples import Example, padded_ids
from interlat.training.fused_losses import entropy
from interlat.training.options import Precision

Columns = list[tuple[Tensor, Tensor]]
"""For each layer the keys and values of some columns, ``[B, H, T, d]``."""


class ColumnDecoder:
    """Reads inputs behind columns that were read before. Nothing is written in place, so autograd sees all of it.

    Padding may stand anywhere: what is attended to follows from the mask, the rotation from the true positions.

    Args:
        decoder: a Hugging Face decoder without its head; its attention is "sdpa" or "eager".
        checkpointing: keep only what goes into each call and compute the rest again for the gradient. The keys and
            values of earlier columns are inputs of a call like any other, so the cache is right both times.
    """

    def __init__(self, decoder: Any, checkpointing: bool = False) -> None:
        self.config = decoder.config
        self.run: nn.Module = decoder
        """What is called: the decoder or another module with the same parameters, such as a compiled one."""
        self.checkpointing = checkpointing
        self.windows = layer_windows(decoder.config)
        self.layers: int = decoder.config.num_hidden_layers
        self.original_length = original_length(decoder)

    def __call__(
        self,
        inputs: Float[Tensor, "B Q D"],
        mask: Bool[Tensor, "B T"],
        positions: Int[Tensor, "B T"],
        read: Sequence[Columns] = (),
    ) -> tuple[Float[Tensor, "B Q D"], Columns]:
        """States after the final norm and the new columns of embeddings that are the last Q of all T columns.

        ``mask`` and ``positions`` are those of all columns, True where they hold something; ``read`` is what earlier
        calls returned, in order: T - Q columns.

        Raises:
            InputError: a row changes its rotary factors between two calls, see `interlat.engine.rotary`.
        """
        start = mask.shape[1] - inputs.shape[1]
        check_not_crossing(self.original_length, mask, positions, start)
        implementation = self.config._attn_implementation
        masks = {
            kind: as_model_mask(visible_positions(mask, positions, start, window), implementation, inputs.dtype)
            for kind, window in self.windows.items()
        }

        def forward(inputs: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
            # Flattened read by read, layer by layer.
            layers = [
                _JoinedLayer(list(flat[2 * n :: 2 * self.layers]), list(flat[2 * n + 1 :: 2 * self.layers]))
                for n in range(self.layers)
            ]
            output = self.run(
                inputs_embeds=inputs,
                attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
                position_ids=positions[:, start:],
                past_key_values=Cache(layers=list(layers)),
                use_cache=True,
            )
            new = [tensor for layer in layers for tensor in (layer.new_keys, layer.new_values)]
            return output.last_hidden_state, *new

        flat = [tensor for columns in read for pair in columns for tensor in pair]
        if self.checkpointing and torch.is_grad_enabled():
            states, *new = checkpoint(forward, inputs, *flat, use_reentrant=False)
        else:
            states, *new = forward(inputs, *flat)
        return states, list(zip(new[0::2], new[1::2], strict=True))

    def roll_out(
        self,
        embeddings: Float[Tensor, "B T D"],
        attention_mask: Bool[Tensor, "B T"],
        bridge: nn.Module,
        start: Float[Tensor, "D"],
        latent_steps: int,
    ) -> Float[Tensor, "B K D"]:
        """Read prompts and take K latent steps, at least 1: z_k is the last state after e_1 ... e_k, e_1 the ``start``,
        and e_(k+1) = bridge(z_k).

        A reasoner's arithmetic at play (`bridge.think_over`), here with gradients. Prompts are padded on the left, with
        true positions, so a row's latents do not depend on the rows beside it.
        """
        prompt = torch.cat([embeddings, start.to(embeddings.dtype).expand(len(embeddings), 1, -1)], dim=1)
        mask = nn.functional.pad(attention_mask, (0, latent_steps), value=True)
        positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
        read: list[Columns] = []
        end = 0

        def forward(inputs: Tensor) -> Tensor:
            nonlocal end
            end += inputs.shape[1]
            states, columns = self(inputs.to(embeddings.dtype), mask[:, :end], positions[:, :end], read)
            read.append(columns)
            return states[:, -1:]

        latent = forward(prompt)
        return torch.cat([latent, *take_latent_steps(forward, bridge, latent, latent_steps - 1)], dim=1)


class _JoinedLayer(DynamicLayer):
    """One layer of a cache that is joined anew for each pass, so that nothing is written in place."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        super().__init__()
        self.past_keys, self.past_values = keys, values
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.new_keys, self.new_values = key_states, value_states
        return torch.cat([*self.past_keys, key_states], dim=2), torch.cat([*self.past_values, value_states], dim=2)

    def get_seq_length(self) -> int:
        return sum(columns.shape[2] for columns in self.past_keys)


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


class Reasoner(nn.Module):
    """A model that reads the sender's prompt and thinks K latents (Interlat, arXiv 2511.09149, its compression)."""

    def __init__(
        self, model: Any, bridge: Bridge, checkpointing: bool = False, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.model = model
        self.bridge = bridge
        self.precision = precision
        # Not as a submodule: it holds the parameters of ``model``, under other names.
        self._decoder = [ColumnDecoder(model.get_decoder(), checkpointing)]

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
            latents = self._decoder[0].roll_out(
                embeddings, mask.to(device), self.bridge, self.bridge.start, latent_steps
            )
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

    ``thoughts`` are the states of some of its plans (last layer, after the final norm) and their tokens.

    A written word tells one of the words that were likely; what else was likely is in the state that predicted it.
    Latents are to carry that, so the first input of a latent thought is best one after which there is something to
    carry. Behind a random vector the first latent of a trained sender was the same for every task.

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
