"""Who may attend to whom: masks built from true positions, and the windows that a model's layers have."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from interlat.errors import CheckpointError

FULL = "full_attention"
SLIDING = "sliding_attention"


def layer_windows(config: PretrainedConfig) -> dict[str, int | None]:
    """The kinds of attention layers of a model and the window of each: None is full attention.

    Raises:
        CheckpointError: the model has layers that keep something else than keys and values of every position.
    """
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is None:
        return {FULL: None} if window is None else {SLIDING: window}
    unknown = sorted(set(kinds) - {FULL, SLIDING})
    if unknown:
        raise CheckpointError(
            f"{config.model_type} has layers of kind {', '.join(unknown)}, and this engine only reads full and sliding "
            'attention; take the engine recurrent (--engine recurrent, engine="recurrent")'
        )
    return {kind: (window if kind == SLIDING else None) for kind in dict.fromkeys(kinds)}


def visible_positions(
    attention_mask: Bool[Tensor, "B T"],
    position_ids: Int[Tensor, "B T"],
    start: int,
    window: int | None = None,
) -> Bool[Tensor, "B 1 Q T"]:
    """Mask of the positions that each query may see; the queries are the positions from ``start`` on.

    A query sees itself and the positions before it that hold something and, with a window W, stand fewer than W
    positions before it. A padding query sees only itself, so that nothing ever becomes NaN.
    """
    width = attention_mask.shape[1]
    positions = torch.arange(width, device=attention_mask.device)
    queries = positions[start:]
    visible = attention_mask[:, None, :] & (positions[None, None, :] <= queries[None, :, None])
    if window is not None:
        distance = position_ids[:, start:, None] - position_ids[:, None, :]
        visible = visible & (distance < window)
    itself = positions[None, None, :] == queries[None, :, None]
    return (visible | itself)[:, None]


def positions_of_layer(layer_mask: Bool[Tensor, "B L C"], layer: int, width: int) -> Bool[Tensor, "B 1 1 T"]:
    """Which of ``width`` positions a layer (counted from 0) may see: all but those that the mask hides from it."""
    hidden = layer_mask[:, layer, :width]
    return functional.pad(hidden, (0, width - hidden.shape[1]), value=True)[:, None, None]


def as_model_mask(visible: Bool[Tensor, "B 1 Q T"], implementation: str, dtype: torch.dtype) -> Tensor:
    """The mask as a model with that implementation of attention ("sdpa" or "eager") wants to have it."""
    if implementation == "sdpa":
        return visible
    # The eager implementation adds the mask to the scores, so a boolean one would be silently wrong.
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)
