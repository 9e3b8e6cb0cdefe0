"""A decoder that reads inputs behind keys and values read before, with gradients through both."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, CacheLayerMixin

from interlat.engine.attention import as_model_mask, layer_windows, visible_positions
from interlat.engine.rotary import check_not_crossing, original_length

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
        """States after the final norm and the new columns of some inputs.

        Args:
            inputs: embeddings; they are the last Q of all T columns.
            mask: of all columns; True where they hold something.
            positions: of all columns.
            read: what earlier calls returned, in order; T - Q columns.

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
            layers = [_JoinedLayer(*pairs) for pairs in _by_layer(flat, self.layers)]
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


def _by_layer(flat: Sequence[Tensor], layers: int) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Keys and values of each layer, of columns that were flattened read by read, layer by layer."""
    return [(list(flat[2 * n :: 2 * layers]), list(flat[2 * n + 1 :: 2 * layers])) for n in range(layers)]


class _JoinedLayer(CacheLayerMixin):
    """One layer of a cache that is joined anew for each pass, so that nothing is written in place."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        super().__init__()
        self.past_keys, self.past_values = keys, values
        self.length = sum(columns.shape[2] for columns in keys)
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise NotImplementedError("there is nothing to allocate")

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        self.new_keys, self.new_values = key_states, value_states
        return torch.cat([*self.past_keys, key_states], dim=2), torch.cat([*self.past_values, value_states], dim=2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1
