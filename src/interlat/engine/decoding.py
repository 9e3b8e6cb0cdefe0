"""The decode loop: each step writes one token for each sequence, and each sequence stops on its own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import KVCache, positions_ahead
from interlat.engine.control_tokens import text_of
from interlat.engine.sampling import Sampling, choose, draw_uniforms
from interlat.errors import InputError
from interlat.states import StateAt

if TYPE_CHECKING:
    from interlat.engine.hf import HFEngine


@dataclass(frozen=True, eq=False)
class DecodeOutput:
    """The output of decoding B sequences."""

    cache: KVCache
    """KV cache of everything read and written, without stop tokens. `Engine.prefill` can continue it."""
    token_ids: list[list[int]]
    """The tokens of each sequence, without the stop token."""
    texts: list[str]
    """The same as text, without special tokens except the marks of reasoning, see `text_of`."""
    hidden_states: list[Float[Tensor, "T D"]]
    """One state for each token (after the final norm), by default the state that predicted it. [] if not kept."""
    stopped: list[bool]
    """True if a sequence ended with a stop token, False if it ran out of tokens or context."""
    forward_passes: int
    """Number of forward passes of the model for the whole batch."""


class _Rows:
    """The sequences that are still writing, and the buffer where the finished ones are kept."""

    def __init__(self, engine: "HFEngine", cache: KVCache, steps: int) -> None:
        self.engine = engine
        self.home, cache = KeyValueBuffer.continuing(cache, steps, with_holes=True)
        self.cache = cache
        """What was read before, without its keys and values."""
        self.width = cache.width
        self.attention_mask, self.position_ids = positions_ahead(cache, steps)
        self.buffer = self.home
        self.order = list(range(len(cache)))
        """The sequences in the buffer."""
        self.active = torch.arange(len(cache), device=engine.device)
        """The same on the device."""
        self.layer_mask = cache.layer_mask
        self.forward = engine.backend.start(
            self.home, self.attention_mask, self.position_ids, layer_mask=self.layer_mask
        )

    def keep(self, writing: Sequence[int]) -> None:
        """Leave all sequences but these (indices among the active ones) at home: they cost nothing any more."""
        index = torch.tensor(writing, device=self.active.device)
        self.store()
        self.buffer = self.buffer.select_sequences(index)
        self.active = self.active[index]
        self.order = [self.order[place] for place in writing]
        self.forward = self.engine.backend.start(
            self.buffer,
            self.attention_mask[self.active],
            self.position_ids[self.active],
            layer_mask=None if self.layer_mask is None else self.layer_mask[self.active],
        )

    def store(self) -> None:
        if self.buffer is not self.home:
            self.home.store_sequences(self.active, self.buffer, self.width)


@torch.no_grad()
def decode(
    engine: "HFEngine",
    cache: KVCache,
    sampling: Sampling | None = None,
    seeds: Sequence[int] | None = None,
    stop_ids: Collection[int] | None = None,
    keep_hidden_states: bool = False,
    *,
    state_at: StateAt = "before_token",
    segment: str = "reply",
) -> DecodeOutput:
    """Write tokens until each sequence stops. The model reads every written token, so the cache is exact.

    The output and the cache do not contain the stop token, because `ChatFormat.continuation` begins with it. A sequence
    also ends after ``max_new_tokens`` tokens or when the context is full, then with ``stopped`` False.

    Args:
        cache: KV cache of B sequences. Their ``hidden_states`` predict the first tokens. It is copied unless it has
            spare capacity for all tokens (`prefill`).
        sampling: how to decode. The default is greedy.
        seeds: one seed for each sequence, needed if ``sampling.temperature`` is positive; see `row_seed`.
        stop_ids: ids that end a sequence. The default is `Engine.stop_ids`. An empty set never stops.
        keep_hidden_states: also return one state for each token.
        state_at: state t is the state that predicted token t ("before_token"), or that had just read it
            ("after_token").
        segment: name of the new positions.

    Raises:
        InputError: seeds are missing or there is not one for each sequence, or the cache belongs to another model.
    """
    engine.check_ready(cache)
    sampling = sampling or Sampling()
    ends = engine.stop_ids if stop_ids is None else frozenset(stop_ids)
    kept_at = state_at if keep_hidden_states else None
    count = len(cache)
    left = [engine.context_after(read) - read for read in cache.next_position.tolist()]
    budgets = [max(0, min(sampling.max_new_tokens, positions)) for positions in left]
    steps = max(budgets, default=0)
    uniforms = checked_uniforms(sampling, seeds, count, steps)
    rows = _Rows(engine, cache, steps)
    cache = rows.cache
    hidden_states = cache.hidden_states.clone()
    kept = hidden_states.new_zeros(count, steps if kept_at else 0, engine.hidden_size)
    token_ids: list[list[int]] = [[] for _ in range(count)]
    stopped = [False] * count
    passes = 0
    active = [row for row in range(count) if budgets[row]]
    if len(active) < count and active:
        rows.keep(active)
    while active:
        step = passes
        chosen = choose(
            engine.logits(hidden_states[rows.active]),
            sampling,
            None if uniforms is None else uniforms[rows.order, step],
        )
        reading = []
        # Where all read on and nothing is drawn, the one moment of a step in which a GPU is waited for.
        for index, (row, token) in enumerate(zip(rows.order, chosen.tolist(), strict=True)):
            if stopped[row] or len(token_ids[row]) >= budgets[row]:
                continue
            if token in ends:
                stopped[row] = True
                continue
            token_ids[row].append(token)
            reading.append(index)
        if not reading:
            break
        if len(reading) * 2 <= len(rows.order):
            rows.keep(reading)
            chosen = chosen[torch.tensor(reading, device=chosen.device)]
            reading = list(range(len(reading)))
        places, taken = rows.active, None
        if len(reading) < len(rows.order):
            taken = torch.tensor(reading, device=engine.device)
            places = places[taken]
        if kept_at == "before_token":
            kept[places, step] = hidden_states[places]
        states = rows.forward(engine.embed(chosen)[:, None])[:, 0]
        passes += 1
        hidden_states[places] = states if taken is None else states[taken]
        if kept_at == "after_token":
            kept[places, step] = hidden_states[places]
        active = [row for row in map(rows.order.__getitem__, reading) if len(token_ids[row]) < budgets[row]]
    rows.store()
    lengths = [len(ids) for ids in token_ids]
    new = torch.arange(rows.home.length - cache.width, device=engine.device)
    new_mask = new[None, :] < torch.tensor(lengths, device=engine.device)[:, None]
    return DecodeOutput(
        cache=rows.home.grown(cache, new_mask, segment, hidden_states, engine.origin),
        token_ids=token_ids,
        texts=[text_of(ids, engine.tokenizer) for ids in token_ids],
        hidden_states=[kept[row, :length].clone() for row, length in enumerate(lengths)] if kept_at else [],
        stopped=stopped,
        forward_passes=passes,
    )


def checked_uniforms(sampling: Sampling, seeds: Sequence[int] | None, rows: int, steps: int) -> Tensor | None:
    """The numbers that a batch samples with; None where it is greedy. Raises InputError: not a seed for each row."""
    if sampling.temperature == 0:
        return None
    if seeds is None or len(seeds) != rows:
        given = "none" if seeds is None else str(len(seeds))
        raise InputError(f"sampling {rows} sequences needs {rows} seeds, got {given}; pass row_seed(...) for each")
    return draw_uniforms(seeds, steps)
