"""Which layers' states are kept, and how they are taken while a model runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError
from interlat.states import Norm


@dataclass(frozen=True)
class LayerSelection:
    """The layers whose states are kept; no others are."""

    layers: tuple[int, ...] = (-1,)
    """Layer 1 is the first one, -1 the last. Several give rows ``[layers, D]`` in this order."""
    norm: Norm = "post"
    """Whether the last layer's states are taken after or before the final norm; inner layers are before it."""

    def numbers(self, count: int) -> tuple[int, ...]:
        """The layers of a model of ``count`` layers, counted from 1.

        Raises:
            InputError: a layer that it does not have, one named twice, or none.
        """
        numbers = tuple(layer + count + 1 if layer < 0 else layer for layer in self.layers)
        if not numbers or len(set(numbers)) < len(numbers) or not all(1 <= number <= count for number in numbers):
            raise InputError(
                f"layers {list(self.layers)} asked of a model of {count} layers; "
                f"name different ones from 1 to {count}, or from -{count} to -1"
            )
        return numbers

    def norms(self, count: int) -> tuple[Norm, ...]:
        """For each layer, on which side of the final norm its states stand."""
        return tuple(self.norm if number == count else "pre" for number in self.numbers(count))

    def row_shape(self, hidden_size: int) -> tuple[int, ...]:
        """Shape of one kept row: ``[D]``, or ``[layers, D]`` for several layers."""
        return (hidden_size,) if len(self.layers) == 1 else (len(self.layers), hidden_size)

    @property
    def is_default(self) -> bool:
        """Whether this is the last layer after the final norm, which every forward pass gives anyway."""
        return self.layers == (-1,) and self.norm == "post"


class HiddenStateRecorder:
    """Takes the states of chosen layers out of a forward pass.

    A backend calls `see` with the stream after each layer; `take` then gives what is to be kept of that pass.
    """

    def __init__(self, kept: LayerSelection, count: int) -> None:
        self.several = len(kept.layers) > 1
        self._last = count if kept.norm == "post" else 0
        self._numbers = kept.numbers(count)
        self._seen: dict[int, Tensor] = {}

    @property
    def inner(self) -> frozenset[int]:
        """Layers that must be seen; all others need not be shown."""
        return frozenset(number for number in self._numbers if number != self._last)

    def see(self, number: int, states: Float[Tensor, "B Q D"]) -> None:
        """Keep the stream after layer ``number``, counted from 1."""
        self._seen[number] = states

    def take(self, final: Float[Tensor, "B Q D"]) -> Float[Tensor, "B Q *row_shape"]:
        """The kept states of the pass that gave ``final``, the states after the final norm."""
        parts: Sequence[Tensor] = [final if n == self._last else self._seen[n] for n in self._numbers]
        return torch.stack(list(parts), dim=2) if self.several else parts[0]
