"""vLLM as an engine: continuous batching, and pages of keys and values that are shared by what begins alike.

What it computes is what the reference engine computes, up to rounding. Its memory of a conversation is not a cache of
keys and values but the list of everything that was read: token ids and latents. vLLM is given that list again each time
and finds most of it in its own prefix cache. So a memory is read on as a whole; it cannot leave the process, and no
positions can be left out of it.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import AnyCache, CachedSequence, DonatedCache, KVCache, join_sequences
from interlat.engine.checkpoint import first_line, is_plain, load_checkpoint, load_model_config, load_tokenizer
from interlat.engine.control_tokens import text_of
from interlat.engine.decoding import DecodeOutput, checked_uniforms
from interlat.engine.fingerprint import loaded_fingerprint, tokenizer_fingerprint
from interlat.engine.hardware import choose_device, choose_dtype
from interlat.engine.hf import HFEngine
from interlat.engine.latent import StateMap
from interlat.engine.origin import Origin, rules_of
from interlat.engine.prompt import Latents, Prompts, Tokens, check_latents, token_ids_of
from interlat.engine.protocol import Engine
from interlat.engine.reading import check_fits, checked_prompts
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling, draw_uniforms
from interlat.engine.streaming import Completion, Request
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.places import model_place
from interlat.states import StateAt

if TYPE_CHECKING:
    from interlat.engine.vllm_rows import Job, Rows

LATENT = -1
"""In the place of a token id: the position holds a latent."""
FILLER = 0
"""The token id that vLLM is given under a latent, where it reads nothing."""
DEFAULTS = {
    # States are taken out of a forward pass, and the model may not be in another process for that.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Environment variables of vLLM that are set unless the user has set them."""
PAGE = 32
"""Positions of a page of the CPU's cache, its least: what does not fill one is computed again at each step."""
TOLERANCE = 1e-2
"""Difference of states, as a share of their norm, from which a latent is read otherwise than the token it equals."""


@dataclass(eq=False)
class _Work:
    """One sequence to be read, and how much of it to write."""

    ids: list[int]
    """`LATENT` where a latent stands."""
    latents: Float[Tensor, "K D"]
    """The latents in it, in their order."""
    budget: int = 0
    """The most tokens to write."""
    uniforms: Float[Tensor, "N"] | None = None
    wants_prompt: bool = False
    """Whether the states at all its positions are wanted."""


@dataclass(frozen=True, eq=False)
class _Done:
    """What came of it."""

    token_ids: list[int]
    stopped: bool
    job: "Job"

    @property
    def last(self) -> Float[Tensor, "D"]:
        """The state at the last position: it predicts what would come next."""
        return self.job.states[self.job.prompt_length + len(self.token_ids) - 1]

    def states(self, state_at: StateAt) -> Float[Tensor, "T D"]:
        """A state for each token."""
        first = self.job.prompt_length - (state_at == "before_token")
        rows = [self.job.states[first + number] for number in range(len(self.token_ids))]
        return torch.stack(rows) if rows else self.last.new_empty(0, len(self.last))


class VLLMEngine(Engine):
    """Runs one language model in vLLM, in this process. The contracts of its methods are written at `HFEngine`.

    The law of batching holds up to rounding. Samples are those of `HFEngine` under the same seeds. States are those of
    the last layer after its norm; other layers are refused. Build it with `load`.
    """

    def __init__(
        self,
        llm: Any,
        rows: "Rows",
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
        origin: Origin,
        ends: Collection[int] = (),
        folder: Any = None,
    ) -> None:
        self.name = origin.name
        self.tokenizer = tokenizer
        self.revision = getattr(config, "_commit_hash", None) or "local"
        self.layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size
        # vLLM cannot read without writing a token, which takes a position.
        self.context_length = int(llm.llm_engine.vllm_config.model_config.max_model_len) - 1
        self.template = TemplateOptions()
        origin.shapes, origin.hidden_size = ((1, self.hidden_size, 1, 1),), self.hidden_size
        # In the place of the property, which knows nothing of the weights.
        self.__dict__["origin"] = origin
        self._ends = frozenset(ends)
        self._size: int = config.vocab_size
        self._llm, self._rows, self._folder = llm, rows, folder
        self._numbers = itertools.count()
        self._model: Any = llm.apply_model(lambda model: model)[0]
        rows.watch(self._model)
        self._check_latents()

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        trust_remote_code: bool = False,
    ) -> "VLLMEngine":
        """Load whatever `HFEngine.load` takes. GGUF files and adapters are written out as plain weights first.

        How much memory vLLM takes for its pages, its environment says (``VLLM_CPU_KVCACHE_SPACE``, in GB, on the CPU).

        Raises:
            CheckpointError: there is no usable model in that place, or vLLM cannot run it.
            InputError: the package vllm is missing, or a wrong dtype or device.
        """
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            import vllm
            from interlat.engine.vllm_rows import Rows
        except ModuleNotFoundError as error:
            raise InputError(
                "the engine vllm needs the package vllm in the same environment (see the guide); or take the engine hf"
            ) from error
        chosen = choose_device(device)
        wanted = choose_dtype(dtype, chosen)
        place, folder, fingerprint = _plain_folder(path_or_hub_id, wanted, trust_remote_code)
        config = load_model_config(place)
        if "longrope" in str(getattr(config, "rope_parameters", "")):
            raise CheckpointError(
                f"{path_or_hub_id} has rotary factors that change with the length of a sequence (LongRoPE), which vLLM "
                "fixes for all; take the engine hf"
            )
        tokenizer = load_tokenizer(path_or_hub_id, trust_remote_code)
        pages = {"block_size": PAGE} if chosen.type == "cpu" else {}
        Rows.made.clear()
        try:
            llm = vllm.LLM(
                model=place,
                dtype=str(wanted).removeprefix("torch."),
                trust_remote_code=trust_remote_code,
                skip_tokenizer_init=True,
                # A recorded graph would run past the hook that takes the states out.
                enforce_eager=True,
                enable_prompt_embeds=True,
                enable_prefix_caching=True,
                generation_config="vllm",
                logits_processors=[Rows],
                seed=0,
                **pages,
            )
        except (RuntimeError, ValueError, ImportError, NotImplementedError, OSError) as error:
            raise _cannot_run(str(path_or_hub_id), error) from error

        def weights() -> str:
            return fingerprint or loaded_fingerprint(
                load_checkpoint(place, torch.bfloat16, "cpu", trust_remote_code)[0]
            )

        name, words = str(path_or_hub_id), lambda: tokenizer_fingerprint(tokenizer)
        origin = Origin(name, rules_of(config), weights, words, layer_count=config.num_hidden_layers)
        return cls(llm, Rows.made[-1], tokenizer, config, origin, _ends_of(place), folder)

    @property
    def device(self) -> torch.device:
        """Where vLLM computes."""
        device: torch.device = next(self._model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of embeddings and states."""
        dtype: torch.dtype = self._llm.llm_engine.vllm_config.model_config.dtype
        return dtype

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply: the chat template's, the tokenizer's and the model's end tokens."""
        ids = set(self.chat.stop_ids) if self.tokenizer.chat_template else {self.tokenizer.eos_token_id}
        return frozenset(i for i in {*ids, *self._ends} if i is not None)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that it can read."""
        return self._size

    @property
    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The row that is read in the place of each token, computed anew each time."""
        return self.embed(torch.arange(self._size))

    @property
    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The weight of the LM head."""
        weight: Tensor = self._model.lm_head.weight
        return weight[: self._size]

    @property
    def ties_embeddings(self) -> bool:
        """Whether the LM head is the input table."""
        return bool(
            self.origin.rules.get("tie_word_embeddings", torch.equal(self.input_embeddings, self.output_embeddings))
        )

    @torch.no_grad()
    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows D"]:
        """Input embeddings of token ids."""
        rows: Tensor = self._model.embed_input_ids(ids.to(self.device).reshape(-1))
        return rows.view(*ids.shape, -1)

    @torch.no_grad()
    def logits(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]:
        """Next-token scores of states after the final norm, in the number format of the model."""
        rows = hidden_states.to(self.device, self.dtype).reshape(-1, self.hidden_size)
        scores: Tensor = self._model.compute_logits(rows)
        return scores.view(*hidden_states.shape[:-1], -1)

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
        new = [self._work_of(row, number) for number, row in enumerate(parts)]
        works = [_followed(old, more, states) for old, more in zip(self._works(given), new, strict=True)]
        done = list(self._run_all(works))
        grown = self._grown(given, new, segment, torch.stack([one.last for one in done]), spare)
        if not states:
            return grown, []
        return grown, [self._prompt_states(one)[start:] for one, start in zip(done, read, strict=True)]

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
        """See `HFEngine.think`. Each step reads all that came before again, most of it out of vLLM's pages."""
        self._check_kept(kept)
        if latent_steps < 0 or tolerance < 0:
            raise InputError(f"latent_steps is {latent_steps} and tolerance {tolerance}; use 0 or more")
        before = self._taken(cache)
        for row, read in enumerate(before.next_position.tolist()):
            check_fits(self, f"the latent thought of sequence {row} takes", latent_steps, read)
        works = self._works(before)
        inputs: list[list[Tensor]] = [[] for _ in works]
        last = before.hidden_states.clone()
        thoughts = last.new_zeros(len(works), latent_steps, self.hidden_size)
        ends = torch.tensor(sorted(stop_ids), device=self.device)
        moving = list(range(len(works)))
        for step in range(latent_steps):
            if stop_ids and moving:
                said = torch.isin(self.logits(last[moving]).argmax(dim=-1), ends).tolist()
                moving = [row for row, stops in zip(moving, said, strict=True) if not stops]
            if not moving:
                break
            chosen = connector(last[moving][:, None])[:, 0].to(self.dtype)
            for row, latent in zip(moving, chosen, strict=True):
                inputs[row].append(latent.clone())
                works[row] = _followed(works[row], _Work([LATENT], latent[None]))
            states = torch.stack([one.last for one in self._run_all([works[row] for row in moving])])
            previous, last[moving] = last[moving], states
            thoughts[moving, step] = states
            if tolerance:
                change = (states.float() - previous.float()).norm(dim=-1)
                goes_on = (change >= tolerance * previous.float().norm(dim=-1)).tolist()
                moving = [row for row, moves in zip(moving, goes_on, strict=True) if moves]
        none = last.new_empty(0, self.hidden_size)
        new = [_Work([LATENT] * len(rows), torch.stack(rows) if rows else none) for rows in inputs]
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
        budgets = [max(0, min(sampling.max_new_tokens, self.context_length - one)) for one in read]
        uniforms = checked_uniforms(sampling, seeds, len(before), max(budgets, default=0))
        works = self._works(before)
        for row, work in enumerate(works):
            work.budget, work.uniforms = budgets[row], None if uniforms is None else uniforms[row]
        rows = [row for row, budget in enumerate(budgets) if budget]
        done = dict(zip(rows, self._run_all([works[row] for row in rows], sampling, ends), strict=True))
        last, none = before.hidden_states.clone(), before.hidden_states.new_empty(0, self.hidden_size)
        for row, one in done.items():
            last[row] = one.last
        token_ids = [done[row].token_ids if row in done else [] for row in range(len(works))]
        return DecodeOutput(
            cache=self._grown(before, [_Work(list(ids), none) for ids in token_ids], segment, last),
            token_ids=token_ids,
            texts=[text_of(ids, self.tokenizer) for ids in token_ids],
            hidden_states=[done[row].states(state_at) if row in done else none for row in range(len(works))]
            if keep_hidden_states
            else [],
            stopped=[row in done and done[row].stopped for row in range(len(works))],
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

        def works() -> Iterator[tuple[tuple[Request, int], _Work]]:
            for request in requests:
                old, read = _Work([], self._nothing), 0
                if request.cache is not None:
                    given = CachedSequence(request.cache) if isinstance(request.cache, KVCache) else request.cache
                    memory = self._taken(join_sequences([given]))
                    (old,), read = self._works(memory), int(memory.next_position[0])
                (parts,) = checked_prompts(self, [request.prompt], [read], begins=not read)
                work = _followed(old, self._work_of(parts, 0), prompt_states)
                work.budget = max(0, min(sampling.max_new_tokens, self.context_length - len(work.ids)))
                if sampling.temperature:
                    work.uniforms = draw_uniforms([request.seed], work.budget)[0]
                yield (request, read), work

        for (request, read), done in self._run(works(), batch_size, sampling, ends):
            sound = bool(done.job.states[done.job.prompt_length - 1].isfinite().all())
            found = done if sound else _Done([], False, done.job)
            yield Completion(
                key=request.key,
                token_ids=found.token_ids,
                text=text_of(found.token_ids, self.tokenizer),
                hidden_states=found.states(state_at),
                prompt_states=self._prompt_states(done)[read:].clone() if prompt_states else None,
                stopped=found.stopped,
                prompt_tokens=done.job.prompt_length - read,
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
                f"{self.name} runs in vLLM, which goes on from whole memories only, and positions or layers were left "
                "out of this one; hand over all of it, or take the engine hf"
            )

    def check_caches_travel(self) -> None:
        """Raise a MessageError: vLLM keeps its keys and values to itself."""
        raise MessageError(
            f"{self.name} runs in vLLM, which gives and takes no caches of keys and values; send text or hidden "
            "states, or take the engine hf"
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
                f"layers {list(kept.layers)} ({kept.norm} norm) asked of {self.name}, but in vLLM only the states of "
                "the last layer after its norm can be had; ask for these, or take the engine hf"
            )

    def _work_of(self, parts: Sequence[Tokens | Latents], number: int) -> _Work:
        rows = [part.rows for part in parts if isinstance(part, Latents)]
        for latents in rows:
            check_latents(latents, self.hidden_size, number)
        given = [one.to(self.device, self.dtype) for one in rows]
        return _Work(token_ids_of(parts, LATENT), torch.cat(given) if given else self._nothing)

    def _works(self, cache: KVCache) -> list[_Work]:
        """What each sequence of a memory has read."""
        works = []
        for row in range(len(cache)):
            held = cache.attention_mask[row]
            if not cache.width or not held.any():
                works.append(_Work([], self._nothing))
                continue
            ids, inputs = cache.values[0][row, 0, held, 0], cache.keys[0][row, 0, held]
            works.append(_Work(ids.tolist(), inputs[ids == LATENT]))
        return works

    def _grown(
        self, before: KVCache, new: Sequence[_Work], segment: str, last: Float[Tensor, "B D"], spare: int = 0
    ) -> KVCache:
        """The memory of all that ``before`` holds and of what was read after it."""
        width = max((len(work.ids) for work in new), default=0)
        buffer, before = KeyValueBuffer.continuing(before, width + spare)
        ids = torch.full((len(new), width), FILLER, device=self.device)
        inputs = self._nothing.new_zeros(len(new), width, self.hidden_size)
        mask = torch.zeros(len(new), width, dtype=torch.bool, device=self.device)
        for row, work in enumerate(new):
            found = torch.tensor(work.ids, dtype=torch.long, device=self.device)
            ids[row, : len(found)], mask[row, : len(found)] = found, True
            inputs[row, : len(found)][found == LATENT] = work.latents
        buffer.write(0, inputs[:, None], ids[:, None, :, None])
        buffer.advance(width)
        return buffer.grown(before, mask, segment, last, self.origin)

    def _prompt_states(self, done: _Done) -> Float[Tensor, "P D"]:
        states = done.job.prompt_states
        assert states is not None, "they were asked for"
        return states

    def _run_all(
        self, works: Sequence[_Work], sampling: Sampling | None = None, ends: frozenset[int] = frozenset()
    ) -> list[_Done]:
        """All of some sequences, in their order."""
        found = dict(self._run(enumerate(works), max(1, len(works)), sampling or Sampling(), ends))
        return [found[number] for number in range(len(works))]

    def _run(
        self, works: Iterable[tuple[Any, _Work]], at_once: int, sampling: Sampling, ends: frozenset[int]
    ) -> Iterator[tuple[Any, _Done]]:
        """Give vLLM some sequences, of which it has so many at once, and yield what comes of each when it is done."""
        engine, running, waiting = self._llm.llm_engine, dict[str, tuple[Any, int, int]](), iter(works)
        try:
            while True:
                for key, work in itertools.islice(waiting, at_once - len(running)):
                    number = next(self._numbers)
                    running[str(number)] = key, number, work.budget
                    engine.add_request(str(number), *self._request(number, work, sampling, ends))
                if not running:
                    return
                for output in engine.step():
                    if output.finished:
                        key, number, budget = running.pop(output.request_id)
                        yield key, self._done(output.outputs[0], number, budget)
        finally:
            # Of a caller that wants no more.
            if running:
                engine.abort_request(list(running))
                while engine.has_unfinished_requests():
                    engine.step()
            for _, number, _ in running.values():
                self._rows.jobs.pop(number, None)

    def _done(self, output: Any, number: int, budget: int) -> _Done:
        ids = list(output.token_ids)
        stopped = output.finish_reason == "stop" and len(ids) <= budget
        # The stop token, or the one that is asked for beyond the budget, so that the last one within it is read.
        return _Done(ids[:-1][:budget], stopped, self._rows.jobs.pop(number))

    def _request(self, number: int, work: _Work, sampling: Sampling, ends: frozenset[int]) -> tuple[Any, Any]:
        """A sequence as vLLM takes it: prompt and parameters."""
        from interlat.engine.vllm_rows import JOB, Job
        from vllm import SamplingParams

        room = self._nothing.new_zeros(len(work.ids), self.hidden_size) if work.wants_prompt else None
        self._rows.jobs[number] = Job(len(work.ids), sampling, work.uniforms, room)
        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=work.budget + 1,
            stop_token_ids=sorted(ends),
            ignore_eos=True,
            detokenize=False,
            extra_args={JOB: number},
        )
        prompt: dict[str, Any] = {"prompt_token_ids": [FILLER if one == LATENT else one for one in work.ids]}
        if len(work.latents):
            real = torch.tensor(work.ids) != LATENT
            embeddings = torch.zeros(len(work.ids), self.hidden_size, dtype=self.dtype)
            embeddings[~real] = work.latents.cpu()
            prompt |= {"prompt_embeds": embeddings, "prompt_is_token_ids": real.tolist()}
        # What is found among its pages vLLM does not compute. And it takes a latent of zeros for a token.
        if work.wants_prompt or (len(work.latents) and not work.latents.any(dim=1).all()):
            prompt["cache_salt"] = f"interlat-{number}"
        return prompt, parameters

    def _check_latents(self) -> None:
        """Refuse a model that reads a latent otherwise than the token whose embedding it is."""
        ids = [number % self._size for number in range(3, 11)]
        rows = self.embed(torch.tensor(ids))
        works = [_Work(ids, self._nothing), _Work([*ids[:4], *[LATENT] * 4], rows[4:])]
        try:
            token, latent = self._run_all(works)
        except (RuntimeError, NotImplementedError) as error:
            # Such as a size of heads that its kernels do not have.
            raise _cannot_run(self.name, error) from error
        difference = (token.last.float() - latent.last.float()).norm() / token.last.float().norm()
        if not difference < TOLERANCE:
            raise CheckpointError(
                f"in vLLM {self.name} reads a latent made of a token's embedding otherwise than the token (difference "
                f"{float(difference):.3g}); take the engine hf"
            )


class HybridEngine(VLLMEngine):
    """Latent steps in the reference engine, all else in vLLM, as LatentMAS does (arXiv 2511.20639): a step there is one
    pass of the model, without a scheduler. Both hold the weights."""

    thinker: HFEngine

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        trust_remote_code: bool = False,
    ) -> "HybridEngine":
        """See `VLLMEngine.load`."""
        engine = super().load(path_or_hub_id, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        assert isinstance(engine, HybridEngine), "it is of this class"
        engine.thinker = HFEngine.load(path_or_hub_id, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        return engine

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
    ) -> tuple[KVCache, Float[Tensor, "B K *row_shape"]]:
        """See `HFEngine.think`. What was read before is read again there; other layers can be had."""
        before = self._taken(cache)
        prompts = [_parts_of(work) for work in self._works(before)]
        inputs: list[Tensor] = []

        def recorded(states: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B 1 D"]:
            inputs.append(connector(states).to(self.dtype, copy=True))
            return inputs[-1]

        memory = self.thinker.prefill(prompts, spare=max(0, latent_steps))
        grown, thoughts = self.thinker.think(
            memory, latent_steps, recorded, segment=segment, kept=kept, tolerance=tolerance, stop_ids=stop_ids
        )
        if not latent_steps:
            return before, thoughts
        taken = (grown.next_position - memory.next_position).tolist()
        rows = torch.cat(inputs, dim=1) if inputs else self._nothing[None].expand(len(before), -1, -1)
        new = [_Work([LATENT] * count, rows[row, :count]) for row, count in enumerate(taken)]
        return self._grown(before, new, segment, grown.hidden_states), thoughts


def _parts_of(work: _Work) -> list[Tokens | Latents]:
    """A sequence as a prompt."""
    parts, rows = list[Tokens | Latents](), iter(work.latents)
    for is_latent, run in itertools.groupby(work.ids, lambda one: one == LATENT):
        ids = tuple(run)
        parts.append(Latents(torch.stack([next(rows) for _ in ids])) if is_latent else Tokens(ids))
    return parts


def _followed(old: _Work, more: _Work, wants_prompt: bool = False) -> _Work:
    """What was read before and what is read now as one sequence."""
    return _Work(old.ids + more.ids, torch.cat([old.latents, more.latents]), wants_prompt=wants_prompt)


def _cannot_run(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(f"vLLM cannot run {name}: {first_line(error)}; take another model or the engine hf")


def _plain_folder(place: str, dtype: torch.dtype, trust_remote_code: bool) -> tuple[str, Any, str]:
    """Where vLLM finds the weights, what keeps that folder alive, and the fingerprint of what is not plain weights."""
    if is_plain(place):
        found = Path(model_place(place))
        others = [one for one in found.glob("*.safetensors") if not one.name.startswith("model")]
        if not others:
            return str(found) if found.is_dir() else model_place(place), None, ""
        # vLLM takes every such file for weights of the model, and an adapter of ours may stand beside them.
        folder = tempfile.TemporaryDirectory(prefix="interlat-vllm-")
        for one in found.iterdir():
            if one.is_file() and one not in others:
                (Path(folder.name) / one.name).symlink_to(one.resolve())
        return folder.name, folder, ""
    model, tokenizer = load_checkpoint(place, dtype, "cpu", trust_remote_code)
    folder = tempfile.TemporaryDirectory(prefix="interlat-vllm-")
    model.save_pretrained(folder.name)
    tokenizer.save_pretrained(folder.name)
    return folder.name, folder, loaded_fingerprint(model)


def _ends_of(place: str) -> list[int]:
    """The end tokens that a model's generation settings name."""
    with contextlib.suppress(OSError):
        ends = GenerationConfig.from_pretrained(Path(place)).eos_token_id
        return list(ends) if isinstance(ends, list) else [ends]
    return []
