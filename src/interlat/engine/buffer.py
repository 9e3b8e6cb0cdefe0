"""Preallocated keys and values: positions are written in place, and a `KVCache` shows the first of them."""

import contextlib
import math
import mmap
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache, CacheLayerMixin

from interlat.engine.cache import DonatedCache, KVCache, compacting
from interlat.engine.origin import Origin

if TYPE_CHECKING:
    from interlat.engine.graphs import StaticSteps

OWN_PAGES = 2**20
"""Bytes of a layer on the CPU from which it gets pages of its own."""


class KeyValueBuffer:
    """``capacity`` positions in every layer; the first ``length`` of them are in use.

    A layer is allocated at its first write, in the shape of what is written. Positions in use are never written again,
    so caches that show some of them stay what they are. The cache that shows all of them is continued in place; another
    one, which somebody has continued before, is copied.
    """

    def __init__(self, capacity: int, cache: KVCache | None = None) -> None:
        self.capacity = capacity
        self.length = 0
        self.single_steps = 0
        """How often a single position was read where steps are recorded, see `interlat.engine.graphs`."""
        self.static_steps: StaticSteps | None = None
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        if cache is not None:
            self.keys = [allocated(k, capacity) for k in cache.keys]
            self.values = [allocated(v, capacity) for v in cache.values]
            self.length = cache.width

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: recorded steps are bound to the tensors of this buffer."""
        return {**vars(self), "static_steps": None, "single_steps": 0}

    @classmethod
    def continuing(
        cls, given: KVCache | DonatedCache, positions: int, *, with_holes: bool = False
    ) -> tuple["KeyValueBuffer", KVCache]:
        """A buffer that begins with what a cache holds, compact, and takes ``positions`` more.

        Nothing is copied where the cache has so much spare capacity. Else, of a donated cache, each layer is let go
        before the next one is copied.

        Args:
            given: the cache.
            positions: how many are to come.
            with_holes: a cache that is not compact is continued in place, too, where it has the room. For a few
                positions, which cost less than a copy.

        Returns:
            The buffer; and the cache without keys and values.
        """
        cache = given.take() if isinstance(given, DonatedCache) else given
        del given
        chosen, buffer = cache.compact_positions(), cache.spare
        keys, values = list(cache.keys), list(cache.values)
        if (chosen is None or with_holes) and buffer is not None and buffer.is_shown_by(cache, positions):
            return buffer, replace(cache, keys=(), values=(), spare=None)
        cache = replace(cache, keys=(), values=(), spare=None)
        gather = None
        if chosen is not None:
            gather = _Gather(chosen, torch.arange(len(cache), device=chosen.device), positions)
            cache = cache.gather(chosen)
        buffer = cls(cache.width + positions)
        buffer.length = cache.width
        while keys:
            for whole, layers in ((buffer.keys, keys), (buffer.values, values)):
                layer = layers.pop(0)
                whole.append(allocated(layer, buffer.capacity) if gather is None else gather(layer))
        return buffer, cache

    @classmethod
    def selecting(cls, cache: KVCache, sequences: Sequence[int], positions: int) -> KVCache:
        """`KVCache.select` with room for ``positions`` more, which its first continuation takes: one copy, not two.

        Args:
            cache: stays as it is.
            sequences: numbers of its sequences.
            positions: how many are to come.

        Raises:
            InputError: a sequence does not exist.
        """
        selected = replace(cache, keys=(), values=(), spare=None).select(sequences)
        index = torch.tensor(list(sequences), dtype=torch.long, device=cache.attention_mask.device)
        mask = cache.attention_mask.index_select(0, index)
        chosen = compacting(mask)
        if chosen is None:
            chosen = torch.arange(cache.width, device=mask.device).expand(len(mask), -1)
        gather = _Gather(chosen, index, positions)
        buffer = cls(selected.width + positions)
        buffer.length = selected.width
        buffer.keys, buffer.values = [gather(k) for k in cache.keys], [gather(v) for v in cache.values]
        keys, values = buffer.contents()
        return replace(selected, keys=keys, values=values, spare=buffer)

    def is_shown_by(self, cache: KVCache, positions: int) -> bool:
        """Whether a cache shows all positions in use, and as many more fit."""
        pairs = zip((*cache.keys, *cache.values), (*self.keys, *self.values), strict=True)
        return cache.width == self.length <= self.capacity - positions and all(
            part.data_ptr() == whole.data_ptr() and part.stride() == whole.stride() and len(part) == len(whole)
            for part, whole in pairs
        )

    def write(
        self, layer: int, keys: Float[Tensor, "B H Q d"], values: Float[Tensor, "B H Q d"]
    ) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Store the new positions of one layer; returns views of all its positions, the new ones included.

        ``length`` moves only by ``advance``, once all layers are written.
        """
        if layer == len(self.keys):
            self.keys.append(allocated(keys[:, :, :0], self.capacity))
            self.values.append(allocated(values[:, :, :0], self.capacity))
        all_keys, all_values, new = self.keys[layer], self.values[layer], keys.shape[2]
        all_keys.narrow(2, self.length, new).copy_(keys)
        all_values.narrow(2, self.length, new).copy_(values)
        end = self.length + new
        return all_keys.narrow(2, 0, end), all_values.narrow(2, 0, end)

    def advance(self, positions: int) -> None:
        """Count ``positions`` new positions as in use."""
        self.length += positions

    def contents(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Keys and values of the positions in use, as views."""
        return (
            tuple(k[:, :, : self.length] for k in self.keys),
            tuple(v[:, :, : self.length] for v in self.values),
        )

    def grown(
        self,
        before: KVCache,
        mask: Bool[Tensor, "B N"],
        segment: str,
        hidden_states: Float[Tensor, "B D"],
        origin: Origin,
    ) -> KVCache:
        """The cache of all positions in use.

        Args:
            before: what `continuing` returned beside this buffer.
            mask: True where a sequence read one of the N positions after those.
            hidden_states: at the last position of each sequence.
        """
        names = before.segment_names if segment in before.segment_names else (*before.segment_names, segment)
        keys, values = self.contents()
        positions = (before.next_position[:, None] + (mask.cumsum(dim=1) - 1).clamp(min=0)) * mask
        segment_ids = torch.where(mask, names.index(segment), -1).to(before.segment_ids)
        layer_mask = before.layer_mask
        return replace(
            before,
            keys=keys,
            values=values,
            attention_mask=torch.cat([before.attention_mask, mask], dim=1),
            position_ids=torch.cat([before.position_ids, positions], dim=1),
            segment_ids=torch.cat([before.segment_ids, segment_ids], dim=1),
            segment_names=names,
            next_position=before.next_position + mask.sum(dim=1),
            hidden_states=hidden_states,
            layer_mask=None if layer_mask is None else functional.pad(layer_mask, (0, mask.shape[1]), value=True),
            spare=self if self.capacity > self.length else None,
            origin=origin,
        )

    def store_sequences(self, sequences: Int[Tensor, "N"], source: "KeyValueBuffer", start: int) -> None:
        """Copy the positions from ``start`` on of all sequences of ``source`` into the given ones of this buffer."""
        for mine, other in zip([*self.keys, *self.values], [*source.keys, *source.values], strict=True):
            mine[sequences, :, start : source.length] = other[:, :, start : source.length]
        self.length = max(self.length, source.length)

    def select_sequences(self, sequences: Int[Tensor, "N"]) -> "KeyValueBuffer":
        """A new buffer of the same capacity with only the given sequences."""
        chosen = KeyValueBuffer(self.capacity)
        chosen.keys = [k.index_select(0, sequences) for k in self.keys]
        chosen.values = [v.index_select(0, sequences) for v in self.values]
        chosen.length = self.length
        return chosen


def allocated(layer: Float[Tensor, "B H T d"], capacity: int) -> Float[Tensor, "B H C d"]:
    """A layer with ``capacity`` positions, of which the first are the given ones and the others zero."""
    whole = zeros((*layer.shape[:2], capacity, layer.shape[3]), layer)
    whole[:, :, : layer.shape[2]] = layer
    return whole


class _Gather:
    """Copies some sequences of a layer, of each its own positions, with room behind them: each number once.

    Args:
        positions: of each sequence.
        sequences: their numbers.
        room: positions behind them, which are zero.
    """

    def __init__(self, positions: Int[Tensor, "N M"], sequences: Int[Tensor, "N"], room: int) -> None:
        self._length = positions.shape[1]
        self._positions = functional.pad(positions, (0, room))
        self._sequences = sequences
        self._index: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, layer: Float[Tensor, "B H T d"]) -> Float[Tensor, "N H C d"]:
        size = layer.shape[3]
        if not layer.shape[2]:
            return zeros((len(self._sequences), layer.shape[1], self._positions.shape[1], size), layer)
        if layer.stride(3) != 1 or any(stride % size for stride in layer.stride()[:3]):
            layer = layer.contiguous()
        # In rows of d numbers. Layers are alike, so that most share one index.
        strides = tuple(stride // size for stride in layer.stride()[:3])
        if (*strides, layer.shape[1]) not in self._index:
            per_sequence, per_head, per_position = strides
            heads = torch.arange(layer.shape[1], device=layer.device)[:, None]
            where = self._sequences[:, None, None] * per_sequence + heads * per_head
            self._index[*strides, layer.shape[1]] = where + self._positions[:, None] * per_position
        index = self._index[*strides, layer.shape[1]]
        rows = 1 + sum((count - 1) * stride for count, stride in zip(layer.shape, strides, strict=False))
        whole = zeros((*index.shape, size), layer)
        torch.index_select(layer.as_strided((rows, size), (size, 1)), 0, index.view(-1), out=whole.view(-1, size))
        whole[:, :, self._length :] = 0
        return whole


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros of the dtype and on the device of another tensor.

    Zeros and not garbage: a masked position still enters the product, and 0 x NaN is NaN.

    Large ones on the CPU are pages of their own, which go back to the system with the tensor. In the heap, what a cache
    frees layer by layer while it grows leaves holes that are too small for its next, larger layers.
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < OWN_PAGES:
        return like.new_zeros(shape)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Most of the time of a copy went into getting pages of 4 KB one by one. A kernel without large pages refuses.
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)


class _BufferLayer(CacheLayerMixin):
    """One layer of a `KeyValueBuffer` as `transformers` wants to see it."""

    def __init__(self, buffer: KeyValueBuffer, layer: int) -> None:
        super().__init__()
        self.buffer = buffer
        self.layer = layer
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise NotImplementedError("the buffer allocates at its first write")

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        return self.buffer.write(self.layer, key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.buffer.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.buffer.length

    def get_max_length(self) -> int:
        return self.buffer.capacity


def as_transformers_cache(buffer: KeyValueBuffer, layers: int) -> Cache:
    """A `transformers` cache whose layers write into ``buffer``; after a forward pass call `advance`."""
    return Cache(layers=[_BufferLayer(buffer, layer) for layer in range(layers)])
