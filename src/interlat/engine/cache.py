"""The memory of a batch of conversations: keys and values with mask, positions and segments."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from interlat.engine.origin import Origin
from interlat.engine.rotary import mixes_factors
from interlat.errors import InputError
from interlat.messages import CacheMessage


@dataclass(frozen=True, eq=False)
class KVCache:
    """What a model has read so far, for B rows side by side.

    A memory is a value: the engine never writes into one that it was given, so two continuations of the same
    memory do not disturb each other. Columns where ``attention_mask`` is False are padding or holes; nobody
    attends to them. The columns of a row are in order of time, but only ``position_ids`` says where a column
    stands: a trimmed memory keeps its true positions.
    """

    keys: tuple[Float[Tensor, "B H T d"], ...]
    """One tensor a layer, rotary positions already applied."""
    values: tuple[Float[Tensor, "B H T d"], ...]
    """One tensor a layer."""
    attention_mask: Bool[Tensor, "B T"]
    """True where a column of a row holds something."""
    position_ids: Int[Tensor, "B T"]
    """The position that each column was computed at; 0 where the mask is False."""
    segment_ids: Int[Tensor, "B T"]
    """Index into ``segment_names`` of what each column is; -1 where the mask is False."""
    segment_names: tuple[str, ...]
    """Names of the segments in order of their making, such as ``("prompt", "latents", "reply")``."""
    next_position: Int[Tensor, "B"]
    """The position that the next input of each row takes."""
    hidden_states: Float[Tensor, "B D"]
    """State after the final norm at the last position of each row: the one that predicts the next token."""
    layer_mask: Bool[Tensor, "B L T"] | None = None
    """True where a layer may look at a column that ``attention_mask`` shows; None where all layers look at all."""
    room: "SpareCapacity | None" = None
    """Free columns behind its own, for the first who continues it; None where there are none."""
    origin: Origin | None = None
    """The model that made it, the only one that reads on in it. None: any model of its shape does."""
    foreign: tuple[str, ...] = ()
    """Names of other models that columns of it come from."""

    def __len__(self) -> int:
        """Number of rows B."""
        return self.attention_mask.shape[0]

    @property
    def width(self) -> int:
        """Number of columns T, holes included."""
        return self.attention_mask.shape[1]

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        """Number of columns that each row really holds."""
        return self.attention_mask.sum(dim=1)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values, holes included."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def segment(self, name: str) -> Bool[Tensor, "B T"]:
        """Mask of the columns that belong to the segment ``name``.

        Raises:
            InputError: there is no such segment.
        """
        if name not in self.segment_names:
            raise InputError(f"the memory has no segment {name!r}; it has {', '.join(self.segment_names)}")
        return (self.segment_ids == self.segment_names.index(name)) & self.attention_mask

    def _map(self, function: "_Columns | _Rows | _Move") -> "KVCache":
        return replace(
            self,
            keys=tuple(function(k) for k in self.keys),
            values=tuple(function(v) for v in self.values),
            attention_mask=function(self.attention_mask),
            position_ids=function(self.position_ids),
            segment_ids=function(self.segment_ids),
            layer_mask=None if self.layer_mask is None else function(self.layer_mask),
            room=None,
        )

    def select(self, rows: Sequence[int] | Int[Tensor, "N"]) -> "KVCache":
        """The given rows, in the given order, repeated where an index repeats; useless columns are dropped.

        Raises:
            InputError: a row does not exist.
        """
        index = torch.as_tensor(rows, dtype=torch.long, device=self.attention_mask.device)
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= len(self)):
            raise InputError(f"rows {index.tolist()} asked of a memory of {len(self)} rows; use 0 to {len(self) - 1}")
        chosen = self._map(_Rows(index))
        chosen = replace(
            chosen,
            next_position=self.next_position.index_select(0, index),
            hidden_states=self.hidden_states.index_select(0, index),
        )
        return chosen.compact()

    def gather(self, columns: Int[Tensor, "B N"]) -> "KVCache":
        """For each row its own list of columns, in that order; masked columns stay masked."""
        return self._map(_Columns(columns.to(self.attention_mask.device)))

    def trim(self, keep: Bool[Tensor, "B T"]) -> "KVCache":
        """Only the columns where ``keep`` is True, at their true positions; ``next_position`` stays.

        Example: ``memory.trim(memory.segment("latents"))`` leaves the latent thoughts alone.
        """
        keep = keep.to(self.attention_mask.device) & self.attention_mask
        columns = _columns_of(keep)
        masked = replace(
            self,
            attention_mask=keep,
            position_ids=self.position_ids.masked_fill(~keep, 0),
            segment_ids=self.segment_ids.masked_fill(~keep, -1),
        )
        return masked.gather(columns)

    def only_layers(self, layers: Collection[int]) -> "KVCache":
        """What it holds by now, for some layers alone: in all others nobody attends to it, and there it holds zeros.

        Columns that are read or thought later are seen in every layer.

        Args:
            layers: numbers from 1 to the number of layers.

        Raises:
            InputError: a layer does not exist.
        """
        count = len(self.keys)
        unknown = sorted(set(layers).difference(range(1, count + 1)))
        if unknown:
            raise InputError(f"layer {unknown[0]} asked of a memory of {count} layers; use 1 to {count}")
        chosen = torch.tensor([layer + 1 in layers for layer in range(count)], device=self.attention_mask.device)
        return replace(
            self,
            keys=tuple(k * kept for k, kept in zip(self.keys, chosen, strict=True)),
            values=tuple(v * kept for v, kept in zip(self.values, chosen, strict=True)),
            layer_mask=_layer_mask(self) & chosen[None, :, None],
            room=None,
        )

    def compact(self) -> "KVCache":
        """The same memory in as few columns as its longest row needs; itself if nothing can be saved."""
        columns = self.compact_columns()
        return self if columns is None else self.gather(columns)

    def compact_columns(self) -> Int[Tensor, "B N"] | None:
        """The columns that `compact` gathers; None where it gathers nothing."""
        longest = int(self.lengths.max()) if len(self) else 0
        return None if longest == self.width else _columns_of(self.attention_mask)

    def to(self, device: torch.device | str) -> "KVCache":
        """The same memory on another device."""
        target = torch.device(device)
        moved = self._map(_Move(target))
        return replace(
            moved,
            next_position=self.next_position.to(target),
            hidden_states=self.hidden_states.to(target),
        )

    def released(self) -> "KVCache":
        """The same memory for models that did not make it: what they read in it is not what its maker meant.

        It keeps the name of its maker (`foreign`), which goes into every message that is made of it.
        """
        made_by = () if self.origin is None else (self.origin.label,)
        return replace(self, origin=None, foreign=tuple(dict.fromkeys((*self.foreign, *made_by))))

    @staticmethod
    def merge(memories: Sequence["KVCache"]) -> "KVCache":
        """Row by row what several memories hold, side by side, every column at its true position.

        For who listens to several agents that thought independently. A segment name stands for the same columns in all
        of them, such as those of a common question: they are kept once, from the first memory that has it. Columns of
        different memories may stand at the same position: whoever reads on sees all of them, at ``next_position``, the
        largest of theirs. The last states are those of the last memory.

        Args:
            memories: of one model, each of B rows in the same order.

        Raises:
            InputError: nothing to merge, or the memories come from models of different shape or have different numbers
                of rows.
        """
        _check_alike(memories)
        if len(memories) == 1:
            return memories[0].compact()
        if len({len(memory) for memory in memories}) > 1:
            raise InputError(f"memories of {[len(m) for m in memories]} rows cannot be merged; give equally many")
        kept: list[KVCache] = []
        known: set[str] = set()
        for memory in memories:
            repeated = [name for name in memory.segment_names if name in known]
            known |= set(memory.segment_names)
            for name in repeated:
                memory = memory.trim(~memory.segment(name))
            kept.append(memory)
        names = _all_names(memories)
        origin = _common_origin(memories)
        ends = [memory.next_position.tolist() for memory in memories]
        if origin is not None and any(mixes_factors(origin.original_length, row) for row in zip(*ends, strict=True)):
            raise InputError(
                f"memories of rows of up to {origin.original_length} positions cannot be merged with longer ones: "
                "their rotary factors differ"
            )
        return KVCache(
            keys=tuple(torch.cat(layers, dim=2) for layers in zip(*(m.keys for m in kept), strict=True)),
            values=tuple(torch.cat(layers, dim=2) for layers in zip(*(m.values for m in kept), strict=True)),
            attention_mask=torch.cat([m.attention_mask for m in kept], dim=1),
            position_ids=torch.cat([m.position_ids for m in kept], dim=1),
            segment_ids=torch.cat([_renumber(m, names) for m in kept], dim=1),
            segment_names=names,
            next_position=torch.stack([m.next_position for m in kept]).amax(dim=0),
            hidden_states=kept[-1].hidden_states,
            layer_mask=torch.cat([_layer_mask(m) for m in kept], dim=2) if _is_layered(kept) else None,
            origin=origin,
            foreign=_all_foreign(memories),
        ).compact()

    @staticmethod
    def concat(memories: Sequence["KVCache"]) -> "KVCache":
        """All rows of several memories of one model as one batch, padded on the left to the widest.

        Raises:
            InputError: nothing to join, or the memories come from models of different shape.
        """
        _check_alike(memories)
        width = max(memory.width for memory in memories)
        names = _all_names(memories)

        def rows(tensors: Sequence[Tensor], column: int, fill: int = 0) -> Tensor:
            return torch.cat([_pad_left(tensor, width, column, fill) for tensor in tensors])

        segments = [_renumber(memory, names) for memory in memories]
        return KVCache(
            keys=tuple(rows([m.keys[i] for m in memories], 2) for i in range(len(memories[0].keys))),
            values=tuple(rows([m.values[i] for m in memories], 2) for i in range(len(memories[0].values))),
            attention_mask=rows([m.attention_mask for m in memories], 1),
            position_ids=rows([m.position_ids for m in memories], 1),
            segment_ids=rows(segments, 1, fill=-1),
            segment_names=names,
            next_position=torch.cat([m.next_position for m in memories]),
            hidden_states=torch.cat([m.hidden_states for m in memories]),
            layer_mask=rows([_layer_mask(m) for m in memories], 2) if _is_layered(memories) else None,
            origin=_common_origin(memories),
            foreign=_all_foreign(memories),
        )


class SpareCapacity:
    """Free columns in the tensors that the keys and values of a memory are views of.

    Who continues that memory first may write there, and then nothing is copied. The memory stays a value, because
    columns that it shows are never written again; who continues it a second time finds the room taken, and copies.

    Args:
        keys: the views that the memory shows, the very tuple.
        values: as ``keys``.
        whole_keys: one tensor a layer with all columns, the free ones included.
        whole_values: as ``whole_keys``.
    """

    def __init__(
        self,
        keys: tuple[Float[Tensor, "B H T d"], ...],
        values: tuple[Float[Tensor, "B H T d"], ...],
        whole_keys: Sequence[Float[Tensor, "B H C d"]],
        whole_values: Sequence[Float[Tensor, "B H C d"]],
    ) -> None:
        self._keys, self._values = keys, values
        self._whole = [(list(whole_keys), list(whole_values))]
        self._capacity = whole_keys[0].shape[2]

    def holds(self, memory: KVCache, columns: int) -> bool:
        """Whether ``memory`` can be continued here by as many columns."""
        same = memory.keys is self._keys and memory.values is self._values
        return bool(self._whole) and same and memory.width + columns <= self._capacity

    def take(self) -> tuple[list[Tensor], list[Tensor]]:
        """The whole keys and values, once."""
        return self._whole.pop()


class DonatedCache:
    """A memory that its holder gives away to whoever continues it.

    If nobody else refers to it, its keys and values are freed layer by layer while they are written into the larger
    memory, so that the two are never there as a whole at the same time.
    """

    def __init__(self, memory: KVCache, given_away: bool = True) -> None:
        self._memory: KVCache | None = memory
        self.given_away = given_away
        """False where its holder keeps it and it is copied only."""

    @property
    def memory(self) -> KVCache:
        """To look at.

        Raises:
            InputError: it was taken.
        """
        if self._memory is None:
            raise InputError(
                "this memory was moved to a reader that went on from it; pass the memory itself to use it twice"
            )
        return self._memory

    def take(self) -> KVCache:
        """The memory, which this object does not refer to any more. Raises InputError: it was taken before."""
        memory, self._memory = self.memory, None
        return memory


@dataclass(frozen=True, eq=False)
class MemoryRow:
    """One row of the memory of a batch: nothing is copied until somebody reads it in other company."""

    memory: KVCache
    row: int = 0

    @property
    def next_position(self) -> int:
        """The position at which a reader goes on."""
        return int(self.memory.next_position[self.row])


LayerShape = tuple[int, int, int, int]
"""Heads and size of the keys of a layer, heads and size of its values."""


def layer_shapes(memory: KVCache | CacheMessage) -> tuple[LayerShape, ...]:
    """The shape of each layer of a memory, or of a message that is one."""
    pairs = zip(memory.keys, memory.values, strict=True)
    return tuple((k.shape[1], k.shape[3], v.shape[1], v.shape[3]) for k, v in pairs)


def shape_text(shapes: Sequence[LayerShape], hidden_size: int) -> str:
    """The shape of a memory in words."""
    if len(set(shapes)) == 1 and shapes[0][:2] == shapes[0][2:]:
        heads, size = shapes[0][:2]
        return f"{len(shapes)} layers of {heads} heads of size {size} and hidden size {hidden_size}"
    return f"{len(shapes)} layers of {[list(shape) for shape in shapes]} and hidden size {hidden_size}"


def join_rows(rows: Sequence[MemoryRow]) -> KVCache:
    """Rows as one memory; the memory itself where they are all of its rows in order.

    Raises:
        InputError: no rows, or the memories come from models of different shape.
    """
    places = [one.row for one in rows]
    if rows and all(one.memory is rows[0].memory for one in rows):
        memory = rows[0].memory
        return memory if places == list(range(len(memory))) else memory.select(places)
    return KVCache.concat([one.memory.select([one.row]) for one in rows])


def with_segment(names: tuple[str, ...], name: str) -> tuple[tuple[str, ...], int]:
    """The segment names with ``name`` among them, and its index."""
    names = names if name in names else (*names, name)
    return names, names.index(name)


def with_columns(layer_mask: Bool[Tensor, "B L T"] | None, columns: int) -> Bool[Tensor, "B L C"] | None:
    """The mask of layers with as many further columns, which every layer sees."""
    return None if layer_mask is None else functional.pad(layer_mask, (0, columns), value=True)


def _columns_of(keep: Bool[Tensor, "B T"]) -> Int[Tensor, "B N"]:
    """For each row its columns to keep, on the right, behind as many others as make all rows equally long."""
    width = int(keep.sum(dim=1).max()) if len(keep) else 0
    # A stable sort puts the columns to drop first and leaves the others in order, pushed to the right.
    return keep.to(torch.int8).argsort(dim=1, stable=True)[:, keep.shape[1] - width :]


def _is_layered(memories: Sequence[KVCache]) -> bool:
    return any(memory.layer_mask is not None for memory in memories)


def _layer_mask(memory: KVCache) -> Bool[Tensor, "B L T"]:
    if memory.layer_mask is not None:
        return memory.layer_mask
    return memory.attention_mask.new_ones(len(memory), len(memory.keys), memory.width)


def _check_alike(memories: Sequence[KVCache]) -> None:
    if not memories:
        raise InputError("no memories to join; pass at least one")
    if len({(layer_shapes(memory), *(k.dtype for k in memory.keys)) for memory in memories}) > 1:
        raise InputError("memories of different models cannot be joined: layers, heads or dtypes differ")


def _common_origin(memories: Sequence[KVCache]) -> Origin | None:
    origins = [memory.origin for memory in memories if memory.origin is not None]
    for other in origins[1:]:
        if found := origins[0].differences(other):
            raise InputError(
                f"memories of {origins[0].name} and {other.name} cannot be joined: {found}; "
                "`KVCache.released` allows it"
            )
    return origins[0] if origins else None


def _all_foreign(memories: Sequence[KVCache]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for memory in memories for name in memory.foreign))


def _all_names(memories: Sequence[KVCache]) -> tuple[str, ...]:
    """The segment names of all memories, each once, in the order in which they appear."""
    return tuple(dict.fromkeys(name for memory in memories for name in memory.segment_names))


def _pad_left(tensor: Tensor, width: int, column: int, fill: int) -> Tensor:
    missing = width - tensor.shape[column]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[column] = missing
    return torch.cat([tensor.new_full(shape, fill), tensor], dim=column)


def _renumber(memory: KVCache, names: Sequence[str]) -> Tensor:
    table = torch.tensor([names.index(name) for name in memory.segment_names] + [-1], dtype=torch.long)
    return table.to(memory.segment_ids.device)[memory.segment_ids]


def gather_columns(tensor: Tensor, columns: Int[Tensor, "B N"]) -> Tensor:
    """For each row its own columns of ``[B, T]``, ``[B, L, T]`` or ``[B, H, T, d]``."""
    if tensor.ndim == 2:
        return tensor.gather(1, columns)
    if tensor.ndim == 3:
        return tensor.gather(2, columns[:, None].expand(-1, tensor.shape[1], -1))
    batch, heads, _, size = tensor.shape
    index = columns[:, None, :, None].expand(batch, heads, -1, size)
    return tensor.gather(2, index)


@dataclass(frozen=True)
class _Rows:
    index: Tensor

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.index_select(0, self.index)


@dataclass(frozen=True)
class _Move:
    device: torch.device

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)


@dataclass(frozen=True)
class _Columns:
    columns: Tensor

    def __call__(self, tensor: Tensor) -> Tensor:
        return gather_columns(tensor, self.columns)
