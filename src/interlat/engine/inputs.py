"""Engines whose memory of a conversation is the list of what was read: token ids and latents.

Such a memory is a `KVCache` of one layer: its keys are the latents (zeros for tokens), its values the token ids. It is
selected, joined and grown like any other. It can be read on as a whole, and no positions can be left out of it.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import AnyCache, CachedSequence, DonatedCache, KVCache, join_sequences
from interlat.engine.control_tokens import text_of
from interlat.engine.decoding import DecodeOutput, checked_uniforms
from interlat.engine.latent import StateMap, take_latent_steps
from interlat.engine.origin import LayerShape
from interlat.engine.prompt import Latents, Prompts, Tokens, check_latents, token_ids_of
from interlat.engine.protocol import Engine
from interlat.engine.reading import check_fits, checked_prompts
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling, draw_uniforms
from interlat.engine.streaming import Completion, Request
from interlat.errors import InputError, MessageError
from interlat.states import StateAt

LATENT = -1
"""In the place of a token id: the position holds a latent."""
FILLER = 0
"""The token id where nothing is held."""


def shapes_of_memory(hidden_size: int) -> tuple[LayerShape, ...]:
    """The shape of the layers of such a memory."""
    return ((1, hidden_size, 1, 1),)


@dataclass(eq=False)
class Reading:
    """One sequence to be read, and how much of it to write."""

    ids: list[int]
    """`LATENT` where a latent stands."""
    latents: Float[Tensor, "K D"]
    """The latents in it, in their order."""
    before: int = 0
    """How many of the positions were read before."""
    budget: int = 0
    """The most tokens to write."""
    uniforms: Float[Tensor, "N"] | None = None
    """A number for each token, where it samples; see `draw_uniforms`."""
    wants_prompt: bool = False
    """Whether the states at all its new positions are wanted."""
    passing: bool = False
    """Whether nobody else goes on from what was read before."""
    kept: bool = True
    """Whether somebody may go on from what is read now."""


@dataclass(frozen=True, eq=False)
class Done:
    """What came of it."""

    token_ids: list[int]
    stopped: bool
    length: int
    """Positions that were read before the first token."""
    states_at: Mapping[int, Float[Tensor, "D"]]
    """The states after the final norm by position, from the last one of the prompt on."""
    prompt_states: Float[Tensor, "P D"] | None = None
    """Those at the new positions of the prompt, where they were wanted."""

    @property
    def last(self) -> Float[Tensor, "D"]:
        """The state at the last position: it predicts what would come next."""
        return self.states_at[self.length + len(self.token_ids) - 1]

    def states(self, state_at: StateAt) -> Float[Tensor, "T D"]:
        """A state for each token."""
        first = self.length - (state_at == "before_token")
        rows = [self.states_at[first + number] for number in range(len(self.token_ids))]
        return torch.stack(rows) if rows else self.last.new_empty(0, len(self.last))


class InputsEngine(Engine):
    """What such engines share: all methods that read, think and write. The contracts are written at `HFEngine`.

    They give the states of the last layer after its norm, and refuse other layers.
    """

    RUNS_IN: str
    """What runs the model, for errors."""

    @abstractmethod
    def run(
        self, readings: Iterable[tuple[Any, Reading]], at_once: int, sampling: Sampling, ends: frozenset[int]
    ) -> Iterator[tuple[Any, Done]]:
        """Read some sequences with keys, write what they ask for, and yield what comes of each when it is done.

        Every sequence reads its last token, too, so that the state behind it is known.

        Args:
            readings: taken as they are needed.
            at_once: how many there are at most at a time.
            sampling: how to write.
            ends: ids that end a sequence; they are not among its tokens.
        """
        ...

    @torch.no_grad()
    def prefill(
        self, prompts: Prompts, cache: AnyCache | None = None, *, segment: str = "prompt", spare: int = 0
    ) -> KVCache:
        """See `HFEngine.prefill`."""
        if spare < 0:
            raise InputError(f"spare is {spare} positions; use 0 or more")
        return self._prefill(prompts, cache, segment, False, spare)[0]

    @torch.no_grad()
    def prefill_hidden(
        self,
        prompts: Prompts,
        cache: AnyCache | None = None,
        *,
        segment: str = "prompt",
        kept: LayerSelection | None = None,
    ) -> tuple[KVCache, list[Float[Tensor, "T D"]]]:
        """See `HFEngine.prefill_hidden`."""
        self._check_kept(kept)
        return self._prefill(prompts, cache, segment, True, 0)

    def _prefill(
        self, prompts: Prompts, before: AnyCache | None, segment: str, states: bool, spare: int
    ) -> tuple[KVCache, list[Tensor]]:
        given = self._empty(len(prompts)) if before is None else self._taken(before)
        read = given.next_position.tolist()
        parts = checked_prompts(self, prompts, read, begins=before is None)
        new = [self._reading_of(row, number) for number, row in enumerate(parts)]
        pairs = zip(self._readings(given), new, strict=True)
        done = self._run_all([followed(old, more, wants_prompt=states) for old, more in pairs])
        grown = self._grown(given, new, segment, torch.stack([one.last for one in done]), spare)
        if not states:
            return grown, []
        return grown, [one.prompt_states for one in done if one.prompt_states is not None]

    @torch.no_grad()
    def think(
        self,
        cache: AnyCache,
        latent_steps: int,
        connector: StateMap,
        *,
        segment: str = "latents",
        kept: LayerSelection | None = None,
        tolerance: float = 0.0,
        stop_ids: Collection[int] = (),
    ) -> tuple[KVCache, Float[Tensor, "B K D"]]:
        """See `HFEngine.think`."""
        self._check_kept(kept)
        if latent_steps < 0 or tolerance < 0:
            raise InputError(f"latent_steps is {latent_steps} and tolerance {tolerance}; use 0 or more")
        before = self._taken(cache)
        for row, read in enumerate(before.next_position.tolist()):
            check_fits(self, f"the latent thought of sequence {row} takes", latent_steps, read)
        readings = self._readings(before)
        inputs: list[list[Tensor]] = [[] for _ in readings]
        last = before.hidden_states
        thoughts = last.new_zeros(len(readings), latent_steps, self.hidden_size)
        moving = list(range(len(readings)))

        def forward(latents: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B 1 D"]:
            for row in moving:
                latent = latents[row].to(self.dtype)
                passing = bool(inputs[row])
                inputs[row].append(latent[0])
                readings[row] = followed(readings[row], Reading([LATENT], latent), passing=passing)
            states = last.clone()
            states[moving] = torch.stack([one.last for one in self._run_all([readings[row] for row in moving])])
            return states[:, None]

        steps = take_latent_steps(forward, connector, last[:, None], latent_steps)
        taken = 0
        while taken < latent_steps:
            if stop_ids and moving:
                said = self.logits(last[moving]).argmax(dim=-1).tolist()
                moving = [row for row, token in zip(moving, said, strict=True) if token not in stop_ids]
            if not moving:
                break
            previous, last = last, next(steps)[:, 0]
            thoughts[moving, taken] = last[moving]
            taken += 1
            if tolerance:
                change = (last.float() - previous.float()).norm(dim=-1)
                goes_on = change >= tolerance * previous.float().norm(dim=-1)
                moving = [row for row in moving if goes_on[row]]
        none = last.new_empty(0, self.hidden_size)
        new = [Reading([LATENT] * len(rows), torch.stack(rows) if rows else none) for rows in inputs]
        return (self._grown(before, new, segment, last) if latent_steps else before), thoughts

    @torch.no_grad()
    def decode(
        self,
        cache: KVCache,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        stop_ids: Collection[int] | None = None,
        keep_hidden_states: bool = False,
        *,
        state_at: StateAt = "before_token",
        segment: str = "reply",
    ) -> DecodeOutput:
        """See `HFEngine.decode`. ``forward_passes`` is what the longest reply took."""
        before, sampling = self._taken(cache), sampling or Sampling()
        ends = self.stop_ids if stop_ids is None else frozenset(stop_ids)
        read = before.next_position.tolist()
        budgets = [max(0, min(sampling.max_new_tokens, self.context_after(one) - one)) for one in read]
        uniforms = checked_uniforms(sampling, seeds, len(before), max(budgets, default=0))
        readings = self._readings(before)
        for row, reading in enumerate(readings):
            reading.before, reading.budget = len(reading.ids), budgets[row]
            reading.uniforms = None if uniforms is None else uniforms[row]
        rows = [row for row, budget in enumerate(budgets) if budget]
        done = dict(zip(rows, self._run_all([readings[row] for row in rows], sampling, ends), strict=True))
        last, none = before.hidden_states.clone(), before.hidden_states.new_empty(0, self.hidden_size)
        for row, one in done.items():
            last[row] = one.last
        token_ids = [done[row].token_ids if row in done else [] for row in range(len(readings))]
        return DecodeOutput(
            cache=self._grown(before, [Reading(list(ids), none) for ids in token_ids], segment, last),
            token_ids=token_ids,
            texts=[text_of(ids, self.tokenizer) for ids in token_ids],
            hidden_states=[done[row].states(state_at) if row in done else none for row in range(len(readings))]
            if keep_hidden_states
            else [],
            stopped=[row in done and done[row].stopped for row in range(len(readings))],
            forward_passes=max(map(len, token_ids), default=0),
        )

    @torch.no_grad()
    def stream(
        self,
        requests: Iterable[Request],
        sampling: Sampling | None = None,
        *,
        batch_size: int = 16,
        stop_ids: Collection[int] | None = None,
        kept: LayerSelection | None = None,
        state_at: StateAt = "before_token",
        prompt_states: bool = False,
    ) -> Iterator[Completion]:
        """See `HFEngine.stream`; here a sequence may have a cache and another none."""
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; use at least 1")
        self._check_kept(kept)
        sampling = sampling or Sampling()
        ends = self.stop_ids if stop_ids is None else frozenset(stop_ids)

        def readings() -> Iterator[tuple[tuple[Request, int], Reading]]:
            for request in requests:
                old, read = Reading([], self._nothing), 0
                if request.cache is not None:
                    given = CachedSequence(request.cache) if isinstance(request.cache, KVCache) else request.cache
                    memory = self._taken(join_sequences([given]))
                    (old,), read = self._readings(memory), int(memory.next_position[0])
                (parts,) = checked_prompts(self, [request.prompt], [read], begins=not read)
                reading = followed(old, self._reading_of(parts, 0), wants_prompt=prompt_states)
                room = self.context_after(len(reading.ids)) - len(reading.ids)
                reading.budget, reading.kept = max(0, min(sampling.max_new_tokens, room)), False
                if sampling.temperature:
                    reading.uniforms = draw_uniforms([request.seed], reading.budget)[0]
                yield (request, read), reading

        for (request, read), done in self.run(readings(), batch_size, sampling, ends):
            sound = bool(done.states_at[done.length - 1].isfinite().all())
            found = done if sound else Done([], False, done.length, done.states_at)
            yield Completion(
                key=request.key,
                token_ids=found.token_ids,
                text=text_of(found.token_ids, self.tokenizer),
                hidden_states=found.states(state_at),
                prompt_states=done.prompt_states,
                stopped=found.stopped,
                prompt_tokens=done.length - read,
                sound=sound,
            )

    def check_cache(self, cache: KVCache) -> None:
        """See `Engine.check_cache`. Raises MessageError also where positions were left out of the memory."""
        super().check_cache(cache)
        held = cache.attention_mask
        places = (held.cumsum(dim=1) - 1) * held
        whole = torch.equal(places, cache.position_ids * held) and torch.equal(held.sum(dim=1), cache.next_position)
        if not whole or cache.layer_mask is not None:
            raise MessageError(
                f"{self.name} runs in {self.RUNS_IN}, which goes on from whole memories only, and positions or layers "
                "were left out of this one; hand over all of it, or take a model and engine that can"
            )

    @property
    def _nothing(self) -> Float[Tensor, "0 D"]:
        return torch.empty(0, self.hidden_size, dtype=self.dtype, device=self.device)

    def _empty(self, count: int) -> KVCache:
        return KVCache.empty(self._nothing.new_zeros(count, self.hidden_size))

    def _taken(self, cache: AnyCache) -> KVCache:
        given = cache.take() if isinstance(cache, DonatedCache) else cache
        self.check_cache(given)
        return given

    def _check_kept(self, kept: LayerSelection | None) -> None:
        if kept is not None and not kept.is_default:
            raise InputError(
                f"layers {list(kept.layers)} ({kept.norm} norm) asked of {self.name}, but in {self.RUNS_IN} only the "
                "states of the last layer after its norm can be had; ask for these, or take a model and engine that can"
            )

    def _reading_of(self, parts: Sequence[Tokens | Latents], number: int) -> Reading:
        rows = [part.rows for part in parts if isinstance(part, Latents)]
        for latents in rows:
            check_latents(latents, self.hidden_size, number)
        given = [one.to(self.device, self.dtype) for one in rows]
        return Reading(token_ids_of(parts, LATENT), torch.cat(given) if given else self._nothing)

    def _readings(self, cache: KVCache) -> list[Reading]:
        """What each sequence of a memory has read."""
        readings = []
        for row in range(len(cache)):
            held = cache.attention_mask[row]
            if not cache.width or not held.any():
                readings.append(Reading([], self._nothing))
                continue
            ids, inputs = cache.values[0][row, 0, held, 0], cache.keys[0][row, 0, held]
            readings.append(Reading(ids.tolist(), inputs[ids == LATENT]))
        return readings

    def _grown(
        self, before: KVCache, new: Sequence[Reading], segment: str, last: Float[Tensor, "B D"], spare: int = 0
    ) -> KVCache:
        """The memory of all that ``before`` holds and of what was read after it."""
        width = max((len(reading.ids) for reading in new), default=0)
        buffer, before = KeyValueBuffer.continuing(before, width + spare)
        ids = torch.full((len(new), width), FILLER, device=self.device)
        inputs = self._nothing.new_zeros(len(new), width, self.hidden_size)
        mask = torch.zeros(len(new), width, dtype=torch.bool, device=self.device)
        for row, reading in enumerate(new):
            found = torch.tensor(reading.ids, dtype=torch.long, device=self.device)
            ids[row, : len(found)], mask[row, : len(found)] = found, True
            inputs[row, : len(found)][found == LATENT] = reading.latents
        buffer.write(0, inputs[:, None], ids[:, None, :, None])
        buffer.advance(width)
        return buffer.grown(before, mask, segment, last, self.origin)

    def _run_all(
        self, readings: Sequence[Reading], sampling: Sampling | None = None, ends: frozenset[int] = frozenset()
    ) -> list[Done]:
        """All of some sequences, in their order."""
        found = dict(self.run(enumerate(readings), max(1, len(readings)), sampling or Sampling(), ends))
        return [found[number] for number in range(len(readings))]


def parts_of(reading: Reading) -> list[Tokens | Latents]:
    """A sequence as a prompt."""
    parts, rows = list[Tokens | Latents](), iter(reading.latents)
    for is_latent, run in groupby(reading.ids, lambda one: one == LATENT):
        ids = tuple(run)
        parts.append(Latents(torch.stack([next(rows) for _ in ids])) if is_latent else Tokens(ids))
    return parts


def followed(old: Reading, more: Reading, *, wants_prompt: bool = False, passing: bool = False) -> Reading:
    """What was read before and what is read now as one sequence."""
    latents = torch.cat([old.latents, more.latents])
    return Reading(old.ids + more.ids, latents, len(old.ids), wants_prompt=wants_prompt, passing=passing)
