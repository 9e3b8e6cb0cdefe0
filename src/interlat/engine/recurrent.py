"""For models whose layers keep something else than keys and values of every position: one sequence at a time.

Layers of linear attention, state-space layers and convolutions (Qwen 3.5, Qwen3-Next, Nemotron-H, Falcon-H1, LFM2,
Granite 4, Jamba, Mamba), chunked attention (Llama 4), indexed attention (DeepSeek V3.2): what they keep is one state of
all that was read. Nothing can be left out of it, and padding would enter it. So sequences are read one by one, with the
cache of `transformers` that the model itself makes, and a memory is the list of what was read (`inputs`). The caches of
the newest memories are kept; one that is gone is made again by reading.
"""

import copy
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine.backend import check_reads_latents
from interlat.engine.cache import KVCache
from interlat.engine.checkpoint import first_line
from interlat.engine.inputs import LATENT, Done, InputsEngine, Reading, shapes_of_memory
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling, choose
from interlat.engine.self_check import check_against_plain_forward, check_close, check_latents_against_tokens
from interlat.engine.transformers_model import TransformersModel
from interlat.errors import CheckpointError, MessageError

KEPT = 64
"""Caches of memories that are kept, the newest ones."""
FIRST_PARTS = (3, 11)
SINGLE_STEPS = 8
"""What is read at once and then one by one when a model is loaded."""
ENDLESS = 2**31
"""Positions of a context that has no end."""
CACHES = ("past_key_values", "cache_params")
"""What decoders of `transformers` call their cache."""


_FAULTS = (AssertionError, AttributeError, ImportError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What forward passes of `transformers` raise on inputs that they do not expect."""


class RecurrentEngine(InputsEngine, TransformersModel):
    """Runs any causal language model of Hugging Face that reads embeddings and keeps a cache, whatever is in it.

    Every sequence is computed alone, so its result does not depend on others, but for rounding where the cache of a
    memory is gone and the memory is read again. The contracts of the methods are written at `HFEngine`, which is
    faster.
    """

    RUNS_IN = "the engine recurrent"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, as_loaded: bool = False
    ) -> None:
        super().__init__(model, tokenizer, name, as_loaded)
        self._kept: OrderedDict[bytes, tuple[Any, Tensor]] = OrderedDict()
        self.origin.shapes = shapes_of_memory(self.hidden_size)
        self.reads_parts = False
        """Whether the model reads several inputs at once behind what it has read; else it reads them one by one."""
        try:
            check_against_plain_forward(self)
            self._check_steps()
            try:
                self.reads_parts = True
                check_against_plain_forward(self)
            except (CheckpointError, *_FAULTS):
                # Some models compute several inputs at once wrong there, or refuse them.
                self.reads_parts = False
            check_latents_against_tokens(self)
        except _FAULTS as error:
            raise CheckpointError(
                f"{self.name} cannot read a few tokens here: {first_line(error)}; use other hardware, another "
                "dtype or another checkpoint"
            ) from error
        self._kept.clear()

    def use(self, model: PreTrainedModel) -> None:
        """Run ``model`` from now on. Raises CheckpointError: it reads no embeddings, or shows no cache."""
        super().use(model)
        check_reads_latents(model)
        found: Any = model.get_decoder()
        # Some models name themselves.
        self.decoder: Any = getattr(model, "model", model) if found is model else found
        accepted = inspect.signature(self.decoder.forward).parameters
        names = [name for name in CACHES if name in accepted]
        if "inputs_embeds" not in accepted or not names or self.decoder is model:
            raise CheckpointError(
                f"{type(self.decoder).__name__} takes no inputs_embeds, or no cache from outside; latents need both"
            )
        self._cache_name = names[0]
        self._kept = OrderedDict()

    @torch.no_grad()
    def _check_steps(self) -> None:
        """Refuse a model that reads one input after the other otherwise than all at once."""
        size = self.vocabulary_size
        ids = [(size // 3 + 7 * number) % size for number in range(max(FIRST_PARTS) + SINGLE_STEPS)]
        for first in FIRST_PARTS:
            row = ids[: first + SINGLE_STEPS]
            plain = self.model(input_ids=torch.tensor([row], device=self.device)).logits[0, first:]
            memory, found = self.prefill([[Tokens(tuple(row[:first]))]]), []
            for token in row[first:]:
                memory = self.prefill([[Tokens((token,))]], memory)
                found.append(self.logits(memory.hidden_states[0]))
            check_close(self, torch.stack(found).float(), plain.float())

    def _context_length(self) -> int:
        """As its configuration says; a model of state-space layers alone reads without an end."""
        if getattr(self.config, "max_position_embeddings", None) is None and self._cache_name == "cache_params":
            return ENDLESS
        return super()._context_length()

    @torch.no_grad()
    def run(
        self, readings: Iterable[tuple[Any, Reading]], at_once: int, sampling: Sampling, ends: frozenset[int]
    ) -> Iterator[tuple[Any, Done]]:
        """See `InputsEngine.run`; one after the other."""
        for key, reading in readings:
            yield key, self._done(reading, sampling, ends)

    def _done(self, reading: Reading, sampling: Sampling, ends: frozenset[int]) -> Done:
        cache, new = self._read(reading)
        length, state = len(reading.ids), new[-1]
        states, token_ids, stopped = {length - 1: state}, list[int](), False
        while len(token_ids) < reading.budget:
            step = len(token_ids)
            draw = None if reading.uniforms is None else reading.uniforms[step : step + 1]
            token = int(choose(self.logits(state[None]), sampling, draw))
            if token in ends or not state.isfinite().all():
                stopped = token in ends
                break
            cache, output = self._forward(self.embed(torch.tensor([[token]])), cache)
            token_ids.append(token)
            state = states[length + step] = output[-1]
        if reading.kept:
            self._keep(replace(reading, ids=reading.ids + token_ids), cache, state)
        return Done(token_ids, stopped, length, states, new if reading.wants_prompt else None)

    def _read(self, reading: Reading) -> tuple[Any, Float[Tensor, "Q D"]]:
        """The cache of a sequence, and the states at its new positions, at least at its last one."""
        known = self._known(reading)
        if known is None:
            cache, states = self._forward(self._embedded(reading, 0)[None], None)
            return cache, states[min(reading.before, len(states) - 1) :]
        cache, state = known
        if reading.before == len(reading.ids):
            return cache, state[None]
        rows, pieces = self._embedded(reading, reading.before), list[Tensor]()
        for part in [rows] if self.reads_parts else rows.split(1):
            cache, found = self._forward(part[None], cache)
            pieces.append(found)
        return cache, torch.cat(pieces)

    def _embedded(self, reading: Reading, start: int) -> Float[Tensor, "Q D"]:
        """What the model reads of a sequence from a position on."""
        ids = torch.tensor(reading.ids[start:], device=self.device)
        embeddings = self.embed(ids.clamp_min(0))
        latents = reading.latents[reading.ids[:start].count(LATENT) :]
        embeddings[ids == LATENT] = latents.to(embeddings)
        return embeddings

    def _forward(self, embeddings: Float[Tensor, "1 Q D"], cache: Any) -> tuple[Any, Float[Tensor, "Q D"]]:
        # A copy: some models scale their inputs in place.
        output = self.decoder(inputs_embeds=embeddings.clone(), use_cache=True, **{self._cache_name: cache})
        return getattr(output, self._cache_name), output.last_hidden_state[0]

    def _known(self, reading: Reading) -> tuple[Any, Tensor] | None:
        """The cache of what was read before, to be written on, and the last state."""
        key = _digest(reading.ids[: reading.before], reading.latents)
        if not reading.before or key not in self._kept:
            return None
        if reading.passing:
            return self._kept.pop(key)
        self._kept.move_to_end(key)
        cache, state = self._kept[key]
        return copy.deepcopy(cache), state

    def _keep(self, reading: Reading, cache: Any, state: Tensor) -> None:
        self._kept[_digest(reading.ids, reading.latents)] = cache, state
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def check_caches_travel(self, *, int8: bool = False) -> None:
        """Raise a MessageError if a memory is to be rounded."""
        if int8:
            raise MessageError(
                f"the memory of {self.name} is what it read, not keys and values, and cannot be rounded to int8; send "
                "it as it is"
            )

    def outgoing(self, cache: KVCache) -> KVCache:
        """A memory for a message: everything in it as input embeddings."""
        inputs, ids = cache.keys[0].clone(), cache.values[0][..., 0]
        tokens = (ids != LATENT) & cache.attention_mask[:, None]
        inputs[tokens] = self.embed(ids[tokens]).to(inputs)
        return replace(cache, keys=(inputs,), values=(inputs.new_zeros(*inputs.shape[:3], 1),), spare=None)

    def incoming(self, cache: KVCache) -> KVCache:
        """The memory in a message: all of it latents."""
        ids = torch.full((*cache.keys[0].shape[:3], 1), LATENT, device=self.device)
        return replace(cache, values=(ids,), spare=None)


def _digest(ids: list[int], latents: Float[Tensor, "K D"]) -> bytes:
    """Of what a sequence read: its tokens and, as many as are among ``ids``, its latents."""
    rows: Any = latents[: ids.count(LATENT)].detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(repr(ids).encode() + rows.tobytes()).digest()
