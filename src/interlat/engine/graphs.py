"""Single steps with shapes and addresses that never change, so that a GPU can record one as a graph and replay it.

The time that the processor takes to launch a few hundred kernels bounds a step of a small model. A recorded graph is
one launch. It reads tensors that stay where they are: the input, the position to write, the masks and the rotary
tables of all positions. Attention reads a bucket of positions and hides those that are still to come. A longer bucket
is another graph.
"""

import functools
import math
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interlat.engine.buffer import KeyValueBuffer

if TYPE_CHECKING:
    from interlat.engine.llama_family import LlamaFamilyBackend

SWITCH = "INTERLAT_CUDA_GRAPHS"
"""Environment variable: 1 records graphs on CUDA devices."""
BUCKET = 256
"""Positions of the shortest bucket; each further one has twice as many."""
AFTER = 4
"""Single steps in a buffer before one is recorded: recording takes about as long as so many."""

Step = Callable[[], Tensor]
Capture = Callable[[Step], tuple[Callable[[], object], Tensor]]
"""Records a step: what replays it, and the tensor where each replay leaves its result."""


def chosen_capture(device: torch.device) -> Capture | None:
    """How steps are recorded on a device; None where they are not."""
    wanted = device.type == "cuda" and os.environ.get(SWITCH) == "1"
    return functools.partial(record_cuda_graph, device) if wanted else None


def record_cuda_graph(device: torch.device, step: Step) -> tuple[Callable[[], object], Tensor]:
    """Record a step on a CUDA device. It runs once before, for what kernels set up at their first call."""
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            step()
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            result = step()
    return graph.replay, result


def bucket_of(positions: int, capacity: int) -> int:
    """Positions that a step reads which needs so many."""
    bucket = BUCKET
    while bucket < positions:
        bucket *= 2
    return min(bucket, capacity)


@dataclass(frozen=True)
class _WrittenAt:
    """The keys and values of a buffer, written at a position that is a number on the device."""

    keys: list[Tensor]
    values: list[Tensor]
    place: Int[Tensor, "1"]
    end: int

    def write(
        self, layer: int, keys: Float[Tensor, "B H 1 d"], values: Float[Tensor, "B H 1 d"]
    ) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """As `KeyValueBuffer.write`, but for the views: they show the whole bucket."""
        found = []
        for room, new in ((self.keys[layer], keys), (self.values[layer], values)):
            room.index_copy_(2, self.place, new)
            found.append(room[:, :, : self.end])
        return found[0], found[1]


class StaticSteps:
    """Single steps in one buffer. It refers to the buffer's tensors and not to the buffer, which owns it.

    Args:
        backend: computes the layers.
        buffer: every layer has been written; its tensors stay where they are.
        capture: how steps are recorded.
    """

    def __init__(self, backend: "LlamaFamilyBackend", buffer: KeyValueBuffer, capture: Capture) -> None:
        # A cache outlives its model and keeps nothing of it.
        self._backend = weakref.ref(backend)
        self.capture = capture
        self.keys, self.values = buffer.keys, buffer.values
        first = self.keys[0]
        batch, capacity, device = first.shape[0], buffer.capacity, first.device
        self.capacity = capacity
        self.columns = torch.arange(capacity, device=device)
        self.place = torch.zeros(1, dtype=torch.long, device=device)
        self.visible = torch.zeros(batch, capacity, dtype=torch.bool, device=device)
        self.positions = torch.zeros(batch, capacity, dtype=torch.long, device=device)
        self.inputs = first.new_zeros(batch, backend.hidden_size)
        cosine, sine = backend.rotary_tables(self.positions)
        self.cosine, self.sine = cosine.contiguous(), sine.contiguous()
        self.recorded: dict[int, tuple[Callable[[], object], Tensor]] = {}

    @property
    def backend(self) -> "LlamaFamilyBackend":
        """What computes the layers; it is alive wherever a step is taken."""
        backend = self._backend()
        assert backend is not None, "steps are taken by their own backend"
        return backend

    def are_of(self, backend: "LlamaFamilyBackend") -> bool:
        """Whether these are the steps of that backend."""
        return self._backend() is backend

    def begin(self, attention_mask: Bool[Tensor, "B T"], position_ids: Int[Tensor, "B T"]) -> None:
        """Take over what is known of the positions, those still to be read included."""
        width = attention_mask.shape[1]
        self.visible[:, :width] = attention_mask
        self.positions[:, :width] = position_ids
        for room, table in zip((self.cosine, self.sine), self.backend.rotary_tables(position_ids), strict=True):
            room[:, :, :width] = table

    def step(self, embeddings: Float[Tensor, "B 1 D"], buffer: KeyValueBuffer) -> Float[Tensor, "B 1 D"]:
        """Read one more input of each sequence; the states after the final norm. The buffer grows by one."""
        self.inputs.copy_(embeddings[:, 0])
        self.place.fill_(buffer.length)
        end = bucket_of(buffer.length + 1, self.capacity)
        if end not in self.recorded:
            self.recorded[end] = self.capture(lambda: self._compute(end))
        replay, states = self.recorded[end]
        replay()
        buffer.advance(1)
        # The next replay writes its result into the same place.
        return states[:, None].clone()

    def _compute(self, end: int) -> Float[Tensor, "B D"]:
        place, columns = self.place, self.columns[:end]
        seen = self.visible[:, :end] & (columns <= place)
        masks: dict[str, Tensor] = {}
        for kind, window in self.backend.windows.items():
            shown = seen
            if window is not None:
                distance = self.positions.index_select(1, place) - self.positions[:, :end]
                shown = shown & (distance < window)
            # A padding query sees itself, so that nothing becomes NaN; see `visible_positions`.
            shown = shown | (columns == place)
            added = torch.zeros(shown.shape, dtype=self.inputs.dtype, device=shown.device)
            masks[kind] = added.masked_fill(~shown, -math.inf)[:, None, None]
        rotary = self.cosine.index_select(2, place), self.sine.index_select(2, place)
        buffer: Any = _WrittenAt(self.keys, self.values, place, end)
        return self.backend.through_layers(self.inputs, 1, buffer, *rotary, lambda index, kind: masks[kind])
