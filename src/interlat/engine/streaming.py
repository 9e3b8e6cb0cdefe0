"""Continuous batching: when a sequence ends, the next prompt takes its place.

All sequences of the batch write at the same position of the buffer, so nothing is moved when one is replaced: the new
prompt is read beside the batch and its keys and values are copied into the free slot, ending at that position. When the
positions run out, everything is moved to the left.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from interlat.engine.buffer import KeyValueBuffer, zeros
from interlat.engine.cache import CachedSequence, DonatedCache, KVCache, join_sequences
from interlat.engine.control_tokens import text_of
from interlat.engine.prompt import Prompt
from interlat.engine.recorder import HiddenStateRecorder, LayerSelection
from interlat.engine.sampling import Sampling, choose, draw_uniforms
from interlat.errors import InputError
from interlat.states import StateAt

if TYPE_CHECKING:
    from interlat.engine.hf import HFEngine

# Positions that the batch may write before everything is moved to the left: moving costs about what two steps cost.
SPARE = 64
# A batch is refilled once this share of its slots is free; reading prompts one by one would cost more than it brings.
REFILL_SHARE = 1 / 8


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt to answer."""

    key: str
    """Key that the answer also has."""
    prompt: Prompt | str
    seed: int = 0
    """Seed of a sampled answer, see `interlat.engine.sampling.row_seed`. Greedy answers do not use it."""
    cache: KVCache | CachedSequence | None = None
    """A KV cache of one sequence that the prompt continues, such as another agent's. Either all requests of a stream
    have one, or none. If nothing else refers to it, it is freed while it is read."""


@dataclass(frozen=True, eq=False)
class Completion:
    """One answer."""

    key: str
    token_ids: list[int]
    """Its tokens, without the stop token."""
    text: str
    """The same as text, without special tokens except the marks of reasoning, see `text_of`."""
    hidden_states: Float[Tensor, "T *row_shape"]
    """One state for each token: ``[T, D]``, or ``[T, layers, D]`` if several layers are kept."""
    prompt_states: Float[Tensor, "P *row_shape"] | None
    """The states at all positions of the prompt, if asked for."""
    stopped: bool
    """True if it ended with a stop token, False if it ran out of tokens or context."""
    prompt_tokens: int
    """Number of positions of the prompt, without those of a cache before it."""
    sound: bool
    """False if the model computes NaN or infinite states for the prompt. Then nothing is written."""


@dataclass(eq=False)
class _Row:
    request: Request
    prompt_tokens: int
    columns: int
    sound: bool
    budget: int
    prompt_states: Tensor | None
    token_ids: list[int] = field(default_factory=list)


def stream(
    engine: "HFEngine",
    requests: Iterable[Request],
    sampling: Sampling | None = None,
    *,
    batch_size: int = 16,
    stop_ids: Collection[int] | None = None,
    kept: LayerSelection | None = None,
    state_at: StateAt = "before_token",
    prompt_states: bool = False,
) -> Iterator[Completion]:
    """Answer any number of prompts, ``batch_size`` at a time, with continuous batching.

    Each answer is the same as `decode` gives to its prompt alone. Answers come in the order in which they end. Requests
    are taken as they are needed. Sorting the longest first wastes least.

    Args:
        requests: prompts with keys and, for sampling, seeds.
        batch_size: number of sequences in the batch.
        stop_ids: ids that end a sequence. The default is `Engine.stop_ids`.
        kept: layers whose states are returned. The default is the last layer after the final norm.
        prompt_states: also return the states at the positions of the prompt.

    Raises:
        PromptError: as for `prefill`.
        InputError: the batch size is below 1, or the model does not have a layer.
    """
    engine.check_ready(None)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; use at least 1")
    ends = engine.stop_ids if stop_ids is None else frozenset(stop_ids)
    make = functools.partial(
        _Batch, engine, sampling or Sampling(), ends, kept or LayerSelection(), state_at, prompt_states
    )
    return _completions(requests, batch_size, make)


def _completions(
    requests: Iterable[Request], batch_size: int, new_batch: Callable[[], "_Batch"]
) -> Iterator[Completion]:
    waiting = iter(requests)
    batch = new_batch()
    enough = max(1, round(batch_size * REFILL_SHARE))
    more = True
    while True:
        if more and not batch.active:
            # What makes the next requests may need the cache of what has ended.
            batch = new_batch()
        free = batch_size - batch.active
        if more and (free >= enough or not batch.active):
            admitted = list(islice(waiting, free))
            more = len(admitted) == free
            batch.draining = not more
            if admitted:
                yield from batch.admit(admitted)
        if not batch.active:
            if more:
                continue
            return
        yield from batch.step()


def _take_caches(requests: list[Request]) -> list[CachedSequence]:
    """The caches of some requests, which are taken out of them: nothing else may refer to what is moved."""
    given = [CachedSequence(one.cache) if isinstance(one.cache, KVCache) else one.cache for one in requests]
    found = [one for one in given if one is not None]
    if len(found) not in (0, len(given)) or any(isinstance(r.cache, KVCache) and len(r.cache) != 1 for r in requests):
        raise InputError("either all requests of a stream have a cache, of one sequence each, or none has")
    requests[:] = [replace(request, cache=None) for request in requests]
    return found


def _runs(slots: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Neighbours among some slots as (first, one behind the last, place of the first): copied without an index, a run
    needs no room of its own."""
    first = 0
    for place in range(1, len(slots) + 1):
        if place == len(slots) or slots[place] != slots[place - 1] + 1:
            yield slots[first], slots[place - 1] + 1, first
            first = place


def _put_rows(room: Float[Tensor, "S H C d"], slots: Sequence[int], rows: Float[Tensor, "B H T d"], end: int) -> None:
    """Put rows into some slots so that they end before position ``end``; the rest of these slots becomes zero."""
    for start, stop, first in _runs(slots):
        # What a slot held before goes too: a NaN would not vanish under a mask.
        room[start:stop, :, : end - rows.shape[2]] = 0
        room[start:stop, :, end:] = 0
        room[start:stop, :, end - rows.shape[2] : end] = rows[first : first + stop - start]


@dataclass(eq=False)
class _Batch:
    """The sequences that are being written, in slots of one buffer."""

    engine: "HFEngine"
    sampling: Sampling
    stop_ids: frozenset[int]
    kept: LayerSelection
    state_at: StateAt
    keep_prompts: bool
    draining: bool = False

    def __post_init__(self) -> None:
        engine, sampling, kept, device = self.engine, self.sampling, self.kept, self.engine.device
        kept.numbers(engine.layers)
        self.recorder = None if kept.is_default else HiddenStateRecorder(kept, engine.layers)
        self.rows: list[_Row | None] = []
        self.buffer = KeyValueBuffer(0)
        self.attention_mask = torch.zeros(0, 0, dtype=torch.bool, device=device)
        self.layer_mask: Tensor | None = None
        self.position_ids = torch.zeros(0, 0, dtype=torch.long, device=device)
        self.next_position = torch.zeros(0, dtype=torch.long, device=device)
        self.hidden_states = torch.zeros(0, engine.hidden_size, dtype=engine.dtype, device=device)
        # The states to keep for the next token: those of the last position read.
        self.row_states = self.hidden_states.new_zeros(0, *kept.row_shape(engine.hidden_size))
        self.states = self.row_states[:, None]
        self.uniforms = torch.zeros(0, sampling.max_new_tokens if sampling.temperature else 0, dtype=torch.float64)

    @property
    def active(self) -> int:
        """Number of sequences that are still writing."""
        return sum(row is not None for row in self.rows)

    def admit(self, requests: list[Request]) -> Iterator[Completion]:
        """Read prompts and put them into free slots; yields those that have no room for a single token.

        The caches are taken out of the requests.
        """
        cache, prompts, before = self._read(requests)
        rows = []
        finite = cache.hidden_states.isfinite().all(dim=1).tolist()
        # From its first position on: between a cache and the prompt behind it may be holes.
        columns = (cache.width - cache.attention_mask.byte().argmax(dim=1)).tolist()
        for index, (request, read) in enumerate(zip(requests, cache.next_position.tolist(), strict=True)):
            room = self.engine.context_after(read) - read
            budget = min(self.sampling.max_new_tokens, room) if finite[index] else 0
            own = read - before[index]
            kept = prompts[index] if self.keep_prompts else None
            rows.append(_Row(request, own, columns[index], finite[index], budget, kept))
        row_states = cache.hidden_states if self.recorder is None else torch.stack([states[-1] for states in prompts])
        missing = len(rows) - (len(self.rows) - self.active)
        used = self._longest()
        if missing > 0 or self.buffer.length < cache.width or self._wasteful(max(used, cache.width)):
            self._arrange(list(range(len(self.rows))), max(used, cache.width), max(0, missing))
        slots = [slot for slot, row in enumerate(self.rows) if row is None][: len(rows)]
        layers = list(cache.keys), list(cache.values)
        cache = replace(cache, keys=(), values=(), spare=None)
        self._place(slots, cache, layers, row_states, [row.request.seed for row in rows])
        for slot, row in zip(slots, rows, strict=True):
            self.rows[slot] = row
        self._restart()
        for slot, row in zip(slots, rows, strict=True):
            if row.budget < 1:
                yield self._end(slot, stopped=False)

    def _read(self, requests: list[Request]) -> tuple[KVCache, list[Tensor], list[int]]:
        """The cache of prompts, the states at their positions if kept, and the position of each first token."""
        prompts, given = [request.prompt for request in requests], _take_caches(requests)
        before = [one.next_position for one in given] or [0] * len(prompts)
        donated = DonatedCache(join_sequences(given)) if given else None
        given.clear()
        if self.keep_prompts or self.recorder is not None:
            return *self.engine.prefill_hidden(prompts, donated, kept=self.kept), before
        return self.engine.prefill(prompts, donated), [], before

    def _longest(self) -> int:
        lengths = [row.columns + len(row.token_ids) for row in self.rows if row is not None]
        return max(lengths, default=0)

    def _wasteful(self, needed: int) -> bool:
        return self.buffer.length - needed > max(SPARE, needed // 2)

    def _arrange(self, slots: Sequence[int], length: int, new: int = 0) -> None:
        """Lay out the given slots, and ``new`` empty ones, in a buffer of which ``length`` positions are in use."""
        old, width = self.buffer, min(length, self.buffer.length)
        index = torch.tensor(slots, dtype=torch.long, device=self.engine.device)

        def moved(mask: Tensor) -> Tensor:
            chosen = mask.index_select(0, index)[..., old.length - width : old.length]
            return functional.pad(chosen, [length - width, SPARE, *[0, 0] * (mask.ndim - 2), 0, new])

        buffer = KeyValueBuffer(length + SPARE)
        buffer.length = length
        for rooms, layers in ((buffer.keys, old.keys), (buffer.values, old.values)):
            while layers:
                layer = layers.pop(0)[:, :, old.length - width : old.length]
                room = zeros((len(slots) + new, layer.shape[1], buffer.capacity, layer.shape[3]), layer)
                for start, stop, first in _runs(slots):
                    room[first : first + stop - start, :, length - width : length] = layer[start:stop]
                rooms.append(room)
        self.buffer = buffer
        self.attention_mask = moved(self.attention_mask)
        self.position_ids = moved(self.position_ids)
        self.layer_mask = None if self.layer_mask is None else moved(self.layer_mask)
        for name in ("next_position", "hidden_states", "row_states", "states", "uniforms"):
            tensor: Tensor = getattr(self, name)
            chosen = tensor[index.to(tensor.device)]
            setattr(self, name, functional.pad(chosen, [0, 0] * (tensor.ndim - 1) + [0, new]))
        self.rows = [self.rows[slot] for slot in slots] + [None] * new

    def _place(
        self,
        slots: Sequence[int],
        cache: KVCache,
        layers: tuple[list[Tensor], list[Tensor]],
        row_states: Tensor,
        seeds: Sequence[int],
    ) -> None:
        """Copy a cache into some slots. ``layers`` are its keys and values, which are let go one by one."""
        index = torch.tensor(slots, device=self.engine.device)
        length, width = self.buffer.length, cache.width
        for rooms, tensors in zip((self.buffer.keys, self.buffer.values), layers, strict=True):
            for layer in range(len(tensors)):
                read = tensors.pop(0)
                if layer == len(rooms):
                    shape = len(self.rows), read.shape[1], self.buffer.capacity, read.shape[3]
                    rooms.append(zeros(shape, read))
                _put_rows(rooms[layer], slots, read, length)
        for room, read in ((self.attention_mask, cache.attention_mask), (self.position_ids, cache.position_ids)):
            room[index] = functional.pad(read, [length - width, room.shape[1] - length])
        if cache.layer_mask is not None and self.layer_mask is None:
            count = cache.layer_mask.shape[1]
            self.layer_mask = self.attention_mask.new_ones(len(self.rows), count, self.attention_mask.shape[1])
        if self.layer_mask is not None:
            # Of a slot's last row nothing else is seen, so nothing else has to be set.
            self.layer_mask[index, :, length - width : length] = (
                self.layer_mask.new_ones(1) if cache.layer_mask is None else cache.layer_mask
            )
        self.next_position[index] = cache.next_position
        self.hidden_states[index] = cache.hidden_states
        self.row_states[index] = row_states
        if self.sampling.temperature:
            self.uniforms[index.cpu()] = draw_uniforms(seeds, self.sampling.max_new_tokens)

    def _restart(self) -> None:
        """Tell the backend about the positions to come: every slot counts on from its own position."""
        length, capacity = self.buffer.length, self.buffer.capacity
        ahead = torch.arange(capacity - length, device=self.engine.device)
        self.attention_mask[:, length:] = True
        self.position_ids[:, length:] = self.next_position[:, None] + ahead
        if self.layer_mask is not None:
            self.layer_mask[:, :, length:] = True
        self.forward = self.engine.backend.start(
            self.buffer, self.attention_mask, self.position_ids, self.recorder, self.layer_mask
        )

    @torch.no_grad()
    def step(self) -> Iterator[Completion]:
        """One token for every sequence; yields the sequences that have ended."""
        written = [len(row.token_ids) if row is not None else 0 for row in self.rows]
        places = torch.tensor(written)
        draws = self.uniforms[torch.arange(len(written)), places] if self.sampling.temperature else None
        chosen = choose(self.engine.logits(self.hidden_states), self.sampling, draws)
        ended: list[tuple[int, bool]] = []
        reading: list[int] = []
        for slot, (row, token) in enumerate(zip(self.rows, chosen.tolist(), strict=True)):
            if row is None:
                continue
            if token in self.stop_ids:
                ended.append((slot, True))
                continue
            row.token_ids.append(token)
            reading.append(slot)
        if self.state_at == "before_token":
            self._keep(reading, written)
        full = [slot for slot in reading if self._is_full(slot)]
        if len(full) < len(reading) or (full and self.state_at == "after_token"):
            if self.buffer.length == self.buffer.capacity:
                self._arrange(list(range(len(self.rows))), self._longest() - 1)
                self._restart()
            states = self.forward(self.engine.embed(chosen)[:, None])
            self.hidden_states = states[:, 0]
            self.row_states = self.hidden_states if self.recorder is None else self.recorder.take(states)[:, 0]
            self.next_position = self.next_position + 1
        if self.state_at == "after_token":
            self._keep(reading, written)
        for slot in full:
            ended.append((slot, False))
        for slot, stopped in ended:
            yield self._end(slot, stopped)
        if ended and self.draining and 0 < self.active * 2 <= len(self.rows):
            self._arrange([slot for slot, row in enumerate(self.rows) if row is not None], self._longest())
            self._restart()

    def _is_full(self, slot: int) -> bool:
        row = self.rows[slot]
        return row is not None and len(row.token_ids) >= row.budget

    def _keep(self, slots: Sequence[int], written: Sequence[int]) -> None:
        """Keep the states of the last position of some slots as those of their newest token."""
        if not slots:
            return
        steps = max(written[slot] for slot in slots) + 1
        if steps > self.states.shape[1]:
            grown = self.states.new_zeros(len(self.rows), max(steps, 2 * self.states.shape[1]), *self.states.shape[2:])
            grown[:, : self.states.shape[1]] = self.states
            self.states = grown
        index = torch.tensor(slots, device=self.engine.device)
        places = torch.tensor([written[slot] for slot in slots], device=self.engine.device)
        self.states[index, places] = self.row_states[index]

    def _end(self, slot: int, stopped: bool) -> Completion:
        row = self.rows[slot]
        assert row is not None, "only a sequence that writes can end"
        self.rows[slot] = None
        return Completion(
            key=row.request.key,
            token_ids=row.token_ids,
            text=text_of(row.token_ids, self.engine.tokenizer),
            hidden_states=self.states[slot, : len(row.token_ids)].clone(),
            prompt_states=row.prompt_states,
            stopped=stopped,
            prompt_tokens=row.prompt_tokens,
            sound=row.sound,
        )
