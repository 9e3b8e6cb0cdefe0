"""The cache of a batch of conversations: keys and values with mask, positions and segments."""

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
    """What a model has read so far, for B sequences side by side.

    A cache is a value: what it shows is never written again, so two continuations of one cache do not disturb each
    other. Positions where ``attention_mask`` is False are padding or holes; nobody attends to them. They are in order
    of time, but only ``position_ids`` has the true position of each: a trimmed cache keeps them.
    """

    keys: tuple[Float[Tensor, "B H T d"], ...]
    """One tensor a layer, rotary positions already applied."""
    values: tuple[Float[Tensor, "B H T d"], ...]
    attention_mask: Bool[Tensor, "B T"]
    """True where a position of a sequence holds something."""
    position_ids: Int[Tensor, "B T"]
    """The true position that each was computed at; 0 where the mask is False."""
    segment_ids: Int[Tensor, "B T"]
    """Index into ``segment_names`` of what each position is; -1 where the mask is False."""
    segment_names: tuple[str, ...]
    """Names of the segments in order of their making, such as ``("prompt", "latents", "reply")``."""
    next_position: Int[Tensor, "B"]
    """The position that the next input of each sequence takes."""
    hidden_states: Float[Tensor, "B D"]
    """State after the final norm at the last position of each sequence: the one that predicts the next token."""
    layer_mask: Bool[Tensor, "B L T"] | None = None
    """True where a layer may look at a position that ``attention_mask`` shows; None where all layers look at all."""
    spare: "KeyValueBuffer | None" = None
    """The buffer that its keys and values are views of; its first continuation that fits is written there."""
    origin: Origin | None = None
    """The model that made it, the only one that reads on in it. None: any model of its shape does."""
    foreign: tuple[str, ...] = ()
    """Names of other models that positions of it come from."""

    @staticmethod
    def empty(hidden_states: Float[Tensor, "B D"]) -> "KVCache":
        """The cache of B sequences that have read nothing."""
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
        """Number of positions that each sequence really holds."""
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
        """The given sequences, in the given order, repeated where an index repeats; useless positions are dropped.

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
        """For each sequence its own list of positions, in that order; masked positions stay masked."""
        return self._map(functools.partial(gather_positions, positions=positions.to(self.attention_mask.device)))

    def trim(self, keep: Bool[Tensor, "B T"]) -> "KVCache":
        """Only the positions where ``keep`` is True, at their true positions; ``next_position`` stays.

        Example: ``cache.trim(cache.segment("latents"))`` leaves the latent thoughts alone.
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
        """What it holds by now, for some layers alone: in all others nobody attends to it, and there it holds zeros.

        Positions that are read or thought later are seen in every layer.

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
        """The same cache in as few positions as its longest sequence needs; itself if nothing can be saved."""
        positions = self.compact_positions()
        return self if positions is None else self.gather(positions)

    def compact_positions(self) -> Int[Tensor, "B N"] | None:
        """The positions that `compact` gathers; None where it gathers nothing."""
        return compacting(self.attention_mask)

    def released(self) -> "KVCache":
        """The same cache for models that did not make it: what they read in it is not what its maker meant.

        It keeps the name of its maker (`foreign`), which goes into every message that is made of it.
        """
        made_by = () if self.origin is None else (self.origin.label,)
        return replace(self, origin=None, foreign=tuple(dict.fromkeys((*self.foreign, *made_by))))

    @staticmethod
    def merge(caches: Sequence["KVCache"]) -> "KVCache":
        """Sequence by sequence what several caches hold, side by side, all at their true positions.

        For a reader of several agents that thought independently. A segment of the same name, such as a common
        question, is kept once, from the first cache that has it. Different caches may fill the same true positions: the
        reader sees all of them and goes on at the largest ``next_position``. The last states are the last cache's.

        Args:
            caches: of one model, each of B sequences in the same order.

        Raises:
            InputError: nothing to merge, or the caches come from models of different shape or have different numbers
                of sequences.
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
        """All sequences of several caches of one model as one batch, padded on the left to the widest.

        Raises:
            InputError: nothing to join, or the caches come from models of different shape.
        """
        _check_alike(caches)
        width = max(cache.width for cache in caches)

        def stacked(parts: list[Tensor], dimension: int, fill: int) -> Tensor:
            return torch.cat([_pad_left(part, width, dimension, fill) for part in parts])

        next_position = torch.cat([cache.next_position for cache in caches])
        return _joined(caches, stacked, next_position, torch.cat([cache.hidden_states for cache in caches]))


class DonatedCache:
    """A cache that its holder gives away to the reader that continues it.

    If nothing else refers to it, its layers are freed one by one while they are copied into the larger cache, so that
    the two never exist as a whole at the same time.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache: KVCache | None = cache

    @property
    def cache(self) -> KVCache:
        """To look at. Raises InputError: it was taken."""
        if self._cache is None:
            raise InputError(
                "this cache was donated to a reader that continued it; pass the cache itself to use it twice"
            )
        return self._cache

    def take(self) -> KVCache:
        """The cache, which this object does not refer to any more. Raises InputError: it was taken before."""
        cache, self._cache = self.cache, None
        return cache


AnyCache = KVCache | DonatedCache
"""A cache to continue, which stays as it is or is given away."""


@dataclass(frozen=True, eq=False)
class CachedSequence:
    """One sequence of the cache of a batch: nothing is copied until somebody reads it in other company."""

    cache: KVCache
    number: int = 0

    @property
    def next_position(self) -> int:
        """The position at which a reader goes on."""
        return int(self.cache.next_position[self.number])


def layer_shapes(cache: KVCache | CacheMessage) -> tuple[LayerShape, ...]:
    """The shape of each layer of a cache, or of a message that is one."""
    pairs = zip(cache.keys, cache.values, strict=True)
    return tuple((k.shape[1], k.shape[3], v.shape[1], v.shape[3]) for k, v in pairs)


def join_sequences(sequences: Sequence[CachedSequence]) -> KVCache:
    """Sequences as one cache; the cache itself where they are all of its sequences in order.

    Raises:
        InputError: no sequences, or the caches come from models of different shape.
    """
    numbers = [one.number for one in sequences]
    if sequences and all(one.cache is sequences[0].cache for one in sequences):
        cache = sequences[0].cache
        return cache if numbers == list(range(len(cache))) else cache.select(numbers)
    return KVCache.concat([one.cache.select([one.number]) for one in sequences])


def positions_ahead(cache: KVCache, count: int) -> tuple[Bool[Tensor, "B C"], Int[Tensor, "B C"]]:
    """Mask and positions of a cache with ``count`` further positions, each sequence counting on from its own."""
    ahead = torch.arange(count, device=cache.next_position.device)
    attention_mask = torch.cat([cache.attention_mask, cache.attention_mask.new_ones(len(cache), count)], dim=1)
    return attention_mask, torch.cat([cache.position_ids, cache.next_position[:, None] + ahead], dim=1)


def compacting(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B N"] | None:
    """For each sequence the positions to keep for a cache as narrow as can be; None where none can be left out."""
    return None if _longest(mask) == mask.shape[1] else _positions_of(mask)


def _longest(keep: Bool[Tensor, "B T"]) -> int:
    return int(keep.sum(dim=1).max()) if len(keep) else 0


def _positions_of(keep: Bool[Tensor, "B T"]) -> Int[Tensor, "B N"]:
    """For each sequence its positions to keep, on the right, behind as many others as make all equally long."""
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
    """Caches as one: ``join`` gets the tensors of a field, their dimension of positions, and what fills padding."""
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
    """For each of some sequences its own positions of ``[B, T]``, ``[B, L, T]`` or ``[B, H, T, d]``.

    ``sequences`` are all by default. Indexing copies rows of d numbers; `take_along_dim`, which reads an index for each
    number, is ten times slower on a CPU.
    """
    rows = torch.arange(len(tensor), device=positions.device) if sequences is None else sequences
    if tensor.ndim == 2:
        return tensor[rows[:, None], positions]
    heads = torch.arange(tensor.shape[1], device=positions.device)
    return tensor[rows[:, None, None], heads[:, None], positions[:, None]]
