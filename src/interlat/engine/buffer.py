"""Keys and values that are written in place, with room for what is still to come."""

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from interlat.engine.cache import DonatedCache, KVCache, SpareCapacity, gather_columns
from interlat.engine.pages import empty_room, return_free_memory

LARGE = 2**24
"""Bytes of a memory that is given away from which its layers get pages of their own."""


class KeyValueBuffer:
    """Room for ``capacity`` columns in every layer; the first ``length`` of them are in use.

    A layer's room is allocated at its first write, in the shape of what is written.
    """

    def __init__(self, capacity: int, memory: KVCache | None = None) -> None:
        self.capacity = capacity
        self.length = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        if memory is not None:
            self.keys = [_with_room(k, capacity) for k in memory.keys]
            self.values = [_with_room(v, capacity) for v in memory.values]
            self.length = memory.width

    @classmethod
    def continuing(cls, moved: DonatedCache, columns: int) -> tuple["KeyValueBuffer", KVCache]:
        """A buffer that begins with what a memory holds, compact, and has room for ``columns`` more.

        Nothing is copied where the memory has so much room itself. Else each layer of the memory is let go before the
        next one is copied.

        Returns:
            The buffer; and the compact memory without keys and values.
        """
        memory = moved.take()
        chosen = memory.compact_columns()
        if chosen is None and memory.room is not None and memory.room.holds(memory, columns):
            return cls._in_room(memory, memory.room)
        # That costs time, so only where room is what counts: a copy leaves the memory where it is anyway.
        large = moved.given_away and memory.nbytes >= LARGE
        if large and memory.attention_mask.device.type == "cpu":
            return_free_memory()
        keys, values = list(memory.keys), list(memory.values)
        memory = replace(memory, keys=(), values=(), room=None)
        if chosen is not None:
            memory = memory.gather(chosen)
        buffer = cls(memory.width + columns)
        buffer.length = memory.width
        while keys:
            for rooms, layers in ((buffer.keys, keys), (buffer.values, values)):
                layer = layers.pop(0)
                layer = layer if chosen is None else gather_columns(layer, chosen)
                rooms.append(_with_room(layer, buffer.capacity, large))
        return buffer, memory

    @classmethod
    def _in_room(cls, memory: KVCache, room: SpareCapacity) -> tuple["KeyValueBuffer", KVCache]:
        buffer = cls(0)
        buffer.keys, buffer.values = room.take()
        buffer.capacity = buffer.keys[0].shape[2]
        buffer.length = memory.width
        return buffer, replace(memory, keys=(), values=(), room=None)

    def write(
        self, layer: int, keys: Float[Tensor, "B H Q d"], values: Float[Tensor, "B H Q d"]
    ) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Store the new columns of one layer; returns views of all its columns, the new ones included.

        ``length`` moves only by ``advance``, once all layers are written.
        """
        if layer == len(self.keys):
            self.keys.append(_with_room(keys[:, :, :0], self.capacity))
            self.values.append(_with_room(values[:, :, :0], self.capacity))
        room_keys, room_values = self.keys[layer], self.values[layer]
        columns = keys.shape[2]
        room_keys.narrow(2, self.length, columns).copy_(keys)
        room_values.narrow(2, self.length, columns).copy_(values)
        end = self.length + columns
        return room_keys.narrow(2, 0, end), room_values.narrow(2, 0, end)

    def advance(self, columns: int) -> None:
        """Count ``columns`` new columns as in use."""
        self.length += columns

    def contents(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Keys and values of the columns in use, as views."""
        return (
            tuple(k[:, :, : self.length] for k in self.keys),
            tuple(v[:, :, : self.length] for v in self.values),
        )

    def room_behind(
        self, keys: tuple[Float[Tensor, "B H T d"], ...], values: tuple[Float[Tensor, "B H T d"], ...]
    ) -> SpareCapacity | None:
        """The columns that are left behind what `contents` gave, for the memory that shows it."""
        return SpareCapacity(keys, values, self.keys, self.values) if self.capacity > self.length else None

    def store_rows(self, rows: Tensor, source: "KeyValueBuffer", start: int) -> None:
        """Copy the columns from ``start`` on of all rows of ``source`` into the given rows of this buffer."""
        for mine, theirs in zip(_both(self), _both(source), strict=True):
            mine[rows, :, start : source.length] = theirs[:, :, start : source.length]
        self.length = max(self.length, source.length)

    def select_rows(self, rows: Tensor) -> "KeyValueBuffer":
        """A new buffer of the same capacity with only the given rows."""
        chosen = KeyValueBuffer(self.capacity)
        chosen.keys = [k.index_select(0, rows) for k in self.keys]
        chosen.values = [v.index_select(0, rows) for v in self.values]
        chosen.length = self.length
        return chosen


def _both(buffer: KeyValueBuffer) -> Sequence[Tensor]:
    return [*buffer.keys, *buffer.values]


def _with_room(tensor: Tensor, capacity: int, own_pages: bool = False) -> Tensor:
    batch, heads, width, size = tensor.shape
    shape = batch, heads, capacity, size
    # Zeros and not garbage: a masked column still enters the product, and 0 x NaN is NaN.
    room = empty_room(shape, tensor) if own_pages else tensor.new_zeros(shape)
    room[:, :, :width] = tensor
    return room


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
