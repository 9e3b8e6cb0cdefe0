"""The KV cache of a batch of conversations: keys and values with mask, positions and segments."""

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from interlat.engine.origin import LayerShape, Origin
from interlat.engine.rotary import mixes_factors
from interlat.errors import InputError
from interlat.messages import CacheMessage

if TYPE_CHECKING:
    from interlat.engine.buffer import KeyValueBuffer


@dataclass(frozen=True, eq=False)
class KVCache:
    """Keys and values of everything that a model has read so far, for a batch of B sequences.

    A cache is immutable: its content is never overwritten, so two continuations of one cache do not disturb each other.
    Positions where ``attention_mask`` is False are padding or holes, and no position attends to them. Positions are in
    order of time, but only ``position_ids`` has their true positions, which a trimmed cache keeps.
    """

    keys: tuple[Float[Tensor, "B H T d"], ...]
    """One tensor a layer, rotary positions already applied."""
    values: tuple[Float[Tensor, "B H T d"], ...]
    attention_mask: Bool[Tensor, "B T"]
    """True where a position of a sequence is filled."""
    position_ids: Int[Tensor, "B T"]
    """True position at which each was computed. 0 where the mask is False."""
    segment_ids: Int[Tensor, "B T"]
    """Segment of each position, as an index into ``segment_names``. -1 where the mask is False."""
    segment_names: tuple[str, ...]
    """Names of the segments in the order in which they were made, such as ``("prompt", "latents", "reply")``."""
    next_position: Int[Tensor, "B"]
    """Position of the next input of each sequence."""
    hidden_states: Float[Tensor, "B D"]
    """State after the final norm at the last position of each sequence. It predicts the next token."""
    layer_mask: Bool[Tensor, "B L T"] | None = None
    """True where a layer may attend to a position of ``attention_mask``. None if all layers attend to all of them."""
    spare: "KeyValueBuffer | None" = None
    """The buffer that its keys and values are views of. The first continuation that fits is written in place there."""
    origin: Origin | None = None
    """The model that made it. Only an equal model can continue it. None allows any model of the same shape."""
    foreign: tuple[str, ...] = ()
    """Names of other models that made some of its positions."""

    @staticmethod
    def empty(hidden_states: Float[Tensor, "B D"]) -> "KVCache":
        """An empty cache of B sequences."""
        nothing = torch.zeros(len(hidden_states), 0, dtype=torch.long, device=hidden_states.device)
        next_position = nothing.new_zeros(len(hidden_states))
        return KVCache((), (), nothing.bool(), nothing, nothing, (), next_position, hidden_states)

    def __len__(self) -> int:
        """Number of sequences B."""
        return self.attention_mask.shape[0]

    @property
    def width(self) -> int:
        """Number of positions T, holes included."""
        return self.attention_mask.shape[1]

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        """Number of filled positions of each sequence."""
        return self.attention_mask.sum(dim=1)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values, holes included."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def segment(self, name: str) -> Bool[Tensor, "B T"]:
        """Mask of the positions that belong to the segment ``name``.

        Raises:
            InputError: there is no such segment.
        """
        if name not in self.segment_names:
            raise InputError(f"the cache has no segment {name!r}; it has {', '.join(self.segment_names)}")
        return (self.segment_ids == self.segment_names.index(name)) & self.attention_mask

    def _map(self, function: Callable[[Tensor], Tensor]) -> "KVCache":
        return replace(
            self,
            keys=tuple(function(k) for k in self.keys),
            values=tuple(function(v) for v in self.values),
            attention_mask=function(self.attention_mask),
            position_ids=function(self.position_ids),
            segment_ids=function(self.segment_ids),
            layer_mask=None if self.layer_mask is None else function(self.layer_mask),
            spare=None,
        )

    def select(self, sequences: Sequence[int] | Int[Tensor, "N"]) -> "KVCache":
        """The given sequences in the given order, repeated where an index repeats, without positions that none needs.

        Raises:
            InputError: a sequence does not exist.
        """
        index = torch.as_tensor(sequences, dtype=torch.long, device=self.attention_mask.device)
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= len(self)):
            raise InputError(
                f"sequences {index.tolist()} asked of a cache of {len(self)} sequences; use 0 to {len(self) - 1}"
            )
        next_position, hidden_states = (one.index_select(0, index) for one in (self.next_position, self.hidden_states))
        chosen = replace(self, next_position=next_position, hidden_states=hidden_states)
        positions = compacting(self.attention_mask.index_select(0, index))
        if positions is None:
            return chosen._map(lambda tensor: tensor.index_select(0, index))
        # Both choices in one copy.
        return chosen._map(functools.partial(gather_positions, positions=positions, sequences=index))

    def gather(self, positions: Int[Tensor, "B N"]) -> "KVCache":
        """Each sequence with its own list of positions, in that order. Masked positions stay masked."""
        return self._map(functools.partial(gather_positions, positions=positions.to(self.attention_mask.device)))

    def trim(self, keep: Bool[Tensor, "B T"]) -> "KVCache":
        """The cache with only the positions where ``keep`` is True, at their true positions. ``next_position`` stays.

        Example: ``cache.trim(cache.segment("latents"))`` keeps only the latent steps.
        """
        keep = keep.to(self.attention_mask.device) & self.attention_mask
        positions = _positions_of(keep)
        masked = replace(
            self,
            attention_mask=keep,
            position_ids=self.position_ids.masked_fill(~keep, 0),
            segment_ids=self.segment_ids.masked_fill(~keep, -1),
        )
        return masked.gather(positions)

    def only_layers(self, layers: Collection[int]) -> "KVCache":
        """The cache for some layers only. In the other layers it holds zeros, and later positions do not attend to it.

        Positions that are read or thought later are visible in every layer.

        Args:
            layers: numbers from 1 to the number of layers.

        Raises:
            InputError: a layer does not exist.
        """
        count = len(self.keys)
        unknown = sorted(set(layers).difference(range(1, count + 1)))
        if unknown:
            raise InputError(f"layer {unknown[0]} asked of a cache of {count} layers; use 1 to {count}")
        chosen = torch.tensor([layer + 1 in layers for layer in range(count)], device=self.attention_mask.device)
        return replace(
            self,
            keys=tuple(k * kept for k, kept in zip(self.keys, chosen, strict=True)),
            values=tuple(v * kept for v, kept in zip(self.values, chosen, strict=True)),
            layer_mask=_layer_mask(self) & chosen[None, :, None],
            spare=None,
        )

    def compact(self) -> "KVCache":
        """The same cache in as few positions as its longest sequence needs. Returns itself if that saves nothing."""
        positions = self.compact_positions()
        return self if positions is None else self.gather(positions)

    def compact_positions(self) -> Int[Tensor, "B N"] | None:
        """The positions that `compact` gathers. None if it gathers nothing."""
        return compacting(self.attention_mask)

    def released(self) -> "KVCache":
        """The same cache, readable by models that did not make it. For them its content has another meaning.

        It keeps the name of its maker (`foreign`), which goes into every message that is made from it.
        """
        made_by = () if self.origin is None else (self.origin.label,)
        return replace(self, origin=None, foreign=tuple(dict.fromkeys((*self.foreign, *made_by))))

    @staticmethod
    def merge(caches: Sequence["KVCache"]) -> "KVCache":
        """Merge several caches sequence by sequence, with all content at its true positions.

        It lets a receiver read several agents that thought independently. A segment of the same name, such as a common
        question, is kept once, from the first cache that has it. Different caches may fill the same true positions: the
        receiver sees all of them and continues at the largest ``next_position``. The last states are those of the last
        cache.

        Args:
            caches: caches of one model, each of B sequences in the same order.

        Raises:
            InputError: there is nothing to merge, or the caches come from different models, have different numbers of
                sequences, or have sequences with different rotary factors.
        """
        _check_alike(caches)
        if len(caches) == 1:
            return caches[0].compact()
        if len({len(cache) for cache in caches}) > 1:
            raise InputError(f"caches of {[len(m) for m in caches]} sequences cannot be merged; give equally many")
        kept: list[KVCache] = []
        known: set[str] = set()
        for cache in caches:
            for name in known.intersection(cache.segment_names):
                cache = cache.trim(~cache.segment(name))
            known |= set(cache.segment_names)
            kept.append(cache)
        ends, last = torch.stack([cache.next_position for cache in kept]), kept[-1].hidden_states
        merged = _joined(kept, lambda parts, dimension, fill: torch.cat(parts, dimension), ends.amax(dim=0), last)
        origin, sequences = merged.origin, ends.T.tolist()
        if origin is not None and any(mixes_factors(origin.original_length, one) for one in sequences):
            raise InputError(
                f"caches of sequences of up to {origin.original_length} positions cannot be merged with longer ones: "
                "their rotary factors differ"
            )
        return merged.compact()

    @staticmethod
    def concat(caches: Sequence["KVCache"]) -> "KVCache":
        """All sequences of several caches of one model as one batch, padded on the left to the widest cache.

        Raises:
            InputError: there is nothing to join, or the caches come from different models.
        """
        _check_alike(caches)
        width = max(cache.width for cache in caches)

        def stacked(parts: list[Tensor], dimension: int, fill: int) -> Tensor:
            return torch.cat([_pad_left(part, width, dimension, fill) for part in parts])

        next_position = torch.cat([cache.next_position for cache in caches])
        return _joined(caches, stacked, next_position, torch.cat([cache.hidden_states for cache in caches]))


class DonatedCache:
    """A KV cache that its owner donates to the engine that continues it.

    If nothing else refers to it, its layers are freed one by one while they are copied into the larger cache. So the
    two caches never exist as a whole at the same time.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache: KVCache | None = cache

    @property
    def cache(self) -> KVCache:
        """The cache, only to look at. Raises InputError if it was taken."""
        if self._cache is None:
            raise InputError(
                "this cache was donated to a reader that continued it; pass the cache itself to use it twice"
            )
        return self._cache

    def take(self) -> KVCache:
        """Return the cache and drop the reference to it. Raises InputError if it was taken before."""
        cache, self._cache = self.cache, None
        return cache


AnyCache = KVCache | DonatedCache
"""A cache to continue, which stays as it is or is donated."""


@dataclass(frozen=True, eq=False)
class CachedSequence:
    """One sequence of the cache of a batch. Nothing is copied until it is joined with sequences of other caches."""

    cache: KVCache
    number: int = 0

    @property
    def next_position(self) -> int:
        """Position of its next input."""
        return int(self.cache.next_position[self.number])


def layer_shapes(cache: KVCache | CacheMessage) -> tuple[LayerShape, ...]:
    """The shape of each layer of a cache or of a cache message."""
    pairs = zip(cache.keys, cache.values, strict=True)
    return tuple((k.shape[1], k.shape[3], v.shape[1], v.shape[3]) for k, v in pairs)


def join_sequences(sequences: Sequence[CachedSequence]) -> KVCache:
    """Join sequences into one cache. Returns the cache itself if they are all of its sequences in order.

    Raises:
        InputError: there are no sequences, or the caches come from different models.
    """
    numbers = [one.number for one in sequences]
    if sequences and all(one.cache is sequences[0].cache for one in sequences):
        cache = sequences[0].cache
        return cache if numbers == list(range(len(cache))) else cache.select(numbers)
    return KVCache.concat([one.cache.select([one.number]) for one in sequences])


def positions_ahead(cache: KVCache, count: int) -> tuple[Bool[Tensor, "B C"], Int[Tensor, "B C"]]:
    """Mask and positions of a cache with ``count`` more positions. Each sequence continues from its own position."""
    ahead = torch.arange(count, device=cache.next_position.device)
    attention_mask = torch.cat([cache.attention_mask, cache.attention_mask.new_ones(len(cache), count)], dim=1)
    return attention_mask, torch.cat([cache.position_ids, cache.next_position[:, None] + ahead], dim=1)


def compacting(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B N"] | None:
    """The positions of each sequence to keep for the narrowest cache. None if none can be left out."""
    return None if _longest(mask) == mask.shape[1] else _positions_of(mask)


def _longest(keep: Bool[Tensor, "B T"]) -> int:
    return int(keep.sum(dim=1).max()) if len(keep) else 0


def _positions_of(keep: Bool[Tensor, "B T"]) -> Int[Tensor, "B N"]:
    """The positions of each sequence to keep, padded on the left with other positions to equal length."""
    width = _longest(keep)
    # A stable sort puts the positions to drop first and leaves the others in order, pushed to the right.
    return keep.to(torch.int8).argsort(dim=1, stable=True)[:, keep.shape[1] - width :]


def _layer_mask(cache: KVCache) -> Bool[Tensor, "B L T"]:
    if cache.layer_mask is not None:
        return cache.layer_mask
    return cache.attention_mask.new_ones(len(cache), len(cache.keys), cache.width)


def _check_alike(caches: Sequence[KVCache]) -> None:
    if not caches:
        raise InputError("no caches to join; pass at least one")
    if len({(layer_shapes(cache), *(k.dtype for k in cache.keys)) for cache in caches}) > 1:
        raise InputError("caches of different models cannot be joined: layers, heads or dtypes differ")


def _common_origin(caches: Sequence[KVCache]) -> Origin | None:
    origins = [cache.origin for cache in caches if cache.origin is not None]
    for other in origins[1:]:
        if found := origins[0].differences(other):
            raise InputError(
                f"caches of {origins[0].name} and {other.name} cannot be joined: {found}; `KVCache.released` allows it"
            )
    return origins[0] if origins else None


def _joined(
    caches: Sequence[KVCache],
    join: Callable[[list[Tensor], int, int], Tensor],
    next_position: Int[Tensor, "B"],
    hidden_states: Float[Tensor, "B D"],
) -> KVCache:
    """Join caches. ``join`` gets the tensors of a field, their dimension of positions, and the value of padding."""
    names = tuple(dict.fromkeys(name for cache in caches for name in cache.segment_names))
    layered = any(cache.layer_mask is not None for cache in caches)
    return KVCache(
        keys=tuple(join(list(layers), 2, 0) for layers in zip(*(cache.keys for cache in caches), strict=True)),
        values=tuple(join(list(layers), 2, 0) for layers in zip(*(cache.values for cache in caches), strict=True)),
        attention_mask=join([cache.attention_mask for cache in caches], 1, 0),
        position_ids=join([cache.position_ids for cache in caches], 1, 0),
        segment_ids=join([_renumber(cache, names) for cache in caches], 1, -1),
        segment_names=names,
        next_position=next_position,
        hidden_states=hidden_states,
        layer_mask=join([_layer_mask(cache) for cache in caches], 2, 0) if layered else None,
        origin=_common_origin(caches),
        foreign=tuple(dict.fromkeys(name for cache in caches for name in cache.foreign)),
    )


def _pad_left(tensor: Tensor, width: int, dimension: int, fill: int) -> Tensor:
    behind = [0, 0] * (tensor.ndim - 1 - dimension)
    return functional.pad(tensor, [*behind, width - tensor.shape[dimension], 0], value=fill)


def _renumber(cache: KVCache, names: Sequence[str]) -> Tensor:
    table = torch.tensor([names.index(name) for name in cache.segment_names] + [-1], dtype=torch.long)
    return table.to(cache.segment_ids.device)[cache.segment_ids]


def gather_positions(
    tensor: Tensor, positions: Int[Tensor, "N M"], sequences: Int[Tensor, "N"] | None = None
) -> Tensor:
    """Gather each sequence's own positions from a tensor ``[B, T]``, ``[B, L, T]`` or ``[B, H, T, d]``.

    ``sequences`` are all by default. Indexing copies rows of d numbers. `take_along_dim` reads an index for each number
    and is ten times slower on a CPU.
    """
    rows = torch.arange(len(tensor), device=positions.device) if sequences is None else sequences
    if tensor.ndim == 2:
        return tensor[rows[:, None], positions]
    heads = torch.arange(tensor.shape[1], device=positions.device)
    return tensor[rows[:, None, None], heads[:, None], positions[:, None]]
