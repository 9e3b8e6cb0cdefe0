"""The controls of `interlat.controls.latents`, on KV caches.

A KV cache is not a single matrix of latents: each head of each layer has keys ``[T, d]`` and values ``[T, d]``. A
control that changes content changes each of these matrices separately, as it would change a message of T latents. A
control that selects latents selects the same positions in all of them. These stay at their true positions, and so does
the next input.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interlat.controls import latents
from interlat.controls.cross_task import CROSS_TASK
from interlat.controls.latents import Control, parse_control
from interlat.engine.cache_message import as_int8
from interlat.engine.sampling import row_seed
from interlat.errors import InputError
from interlat.messages import CacheMessage

REFUSED: Mapping[str, str] = {
    "shuffled_rows": "attention sums over the positions of a cache in any order, so another order is the same message; "
    "take random_rotation or cross_task",
    "pooled_rows": "a key is turned by its position, so a mean of keys is the key of none; take spaced_rows",
}
"""Controls that are meaningless on a KV cache, each with the reason."""

HeadOperation = Callable[[Float[Tensor, "H T d"], Generator, float], Float[Tensor, "H T d"]]


def names() -> tuple[str, ...]:
    """The names of the controls that apply to a KV cache."""
    return tuple(name for name in latents.control_names() if name != CROSS_TASK and name not in REFUSED)


def controlled(name: str, message: CacheMessage, item: str, *, run_seed: int) -> CacheMessage:
    """Apply a control to one KV cache. Content is drawn in float64 on the CPU, layer by layer, keys before values.

    Raises:
        InputError: the control or its value is unknown, or the cache holds several conversations, is int8, or has too
            few positions.
    """
    control, value = parse_control(name)
    if len(message.next_position) != 1 or message.key_scales:
        raise InputError(f"the control {name!r} needs the cache of one conversation, not rounded to int8")
    real = message.attention_mask[0].nonzero()[:, 0].cpu()
    if len(real) < control.rows_needed and control.name not in _HEADS:
        raise InputError(
            f"the control {name!r} needs at least {control.rows_needed} positions and the cache of {item!r} has "
            f"{len(real)}: use 'zeros' or 'cross_task' for such messages"
        )
    if control.name == latents.INT8:
        return as_int8(message)
    generator = Generator().manual_seed(row_seed(run_seed, item, control.name))
    if control.kept is not None:
        return _selected(message, real[control.kept(len(real), generator, value)])
    operation = _HEADS.get(control.name) or _each_head(control)

    def changed(layer: Float[Tensor, "1 H T d"]) -> Float[Tensor, "1 H T d"]:
        exact = layer[0].detach().to("cpu", torch.float64)
        exact[:, real] = operation(exact[:, real], generator, value)
        return exact[None].to(layer.device, layer.dtype)

    keys = tuple(changed(layer) for layer in message.keys)
    return dataclasses.replace(message, keys=keys, values=tuple(changed(layer) for layer in message.values))


def _selected(message: CacheMessage, positions: Int[Tensor, " rows"]) -> CacheMessage:
    chosen = positions.to(message.attention_mask.device)

    def part(tensor: Any, dimension: int) -> Any:
        return tensor.index_select(dimension, chosen.to(tensor.device))

    return dataclasses.replace(
        message,
        keys=tuple(part(layer, 2) for layer in message.keys),
        values=tuple(part(layer, 2) for layer in message.values),
        attention_mask=part(message.attention_mask, 1),
        position_ids=part(message.position_ids, 1),
        segment_ids=part(message.segment_ids, 1),
        layer_mask=None if message.layer_mask is None else part(message.layer_mask, 2),
    )


def _each_head(control: Control) -> HeadOperation:
    def operation(layer: Float[Tensor, "H T d"], generator: Generator, value: float) -> Float[Tensor, "H T d"]:
        return torch.stack([control.operation(head, generator, value) for head in layer])

    return operation


def _gaussian(layer: Float[Tensor, "H T d"], generator: Generator, value: float) -> Float[Tensor, "H T d"]:
    """iid N(mean, variance) over the positions, for each head and dimension; one draw for all heads."""
    noise = torch.randn(layer.shape, generator=generator, dtype=layer.dtype)
    return layer.mean(1, keepdim=True) + noise * layer.std(1, keepdim=True, correction=0)


_HEADS: Mapping[str, HeadOperation] = {"gaussian": _gaussian}
"""Written before the others were: with the variance of the population, and for a single position too."""
