"""The reference engine: any Hugging Face causal language model, with prefill, latent thought and decoding."""

import copy
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine.backend import Backend, TransformersBackend
from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import (
    DonatedCache,
    KVCache,
    LayerShape,
    layer_shapes,
    shape_text,
    with_columns,
    with_segment,
)
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import first_line, load_checkpoint
from interlat.engine.decoding import DecodeOutput, decode_rows
from interlat.engine.embeddings import input_embeddings, next_token_scores
from interlat.engine.llama_family import LlamaFamilyBackend, is_llama_family
from interlat.engine.origin import Origin
from interlat.engine.prompt import Latents, Prompt, Tokens, embed_prompts, padded_mask, prompt_length, tokenize, whole
from interlat.engine.recorder import HiddenStateRecorder, LayerSelection
from interlat.engine.rotary import crossing, original_length, read_rows_apart
from interlat.engine.sampling import Sampling
from interlat.engine.self_check import check_against_plain_forward
from interlat.engine.streaming import Completion, Request, write_stream
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, PromptError
from interlat.states import StateAt

Align = Callable[[Float[Tensor, "B 1 D"]], Float[Tensor, "B 1 D"]]
"""From the hidden states of the last position to the input embeddings of the next one."""


class Engine:
    """Runs one language model.

    The law of batching: what a row gets does not depend on the rows beside it. Nothing here needs gradients;
    everything runs without them. Build it with `load` or `wrap`.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        read_rows_apart(model)
        self.use(model)
        self.tokenizer = tokenizer
        self.name = name
        self.template = TemplateOptions()
        self.hidden_size: int = self.config.hidden_size
        self.context_length = self._context_length()
        self.revision: str = getattr(model.config, "_commit_hash", None) or "local"
        self.memory_shape: tuple[LayerShape, ...] = ()
        """The shape of its memories, layer by layer."""
        self._check_sizes()
        try:
            self.memory_shape = layer_shapes(check_against_plain_forward(self))
            self._check_latents_against_tokens()
        except (ImportError, NotImplementedError, RuntimeError) as error:
            # The model's own forward pass, such as kernels for a quantised model that this hardware lacks.
            raise CheckpointError(
                f"{self.name} cannot read a few tokens here: {first_line(error)}; use other hardware or another "
                "checkpoint"
            ) from error

    def use(self, model: PreTrainedModel) -> None:
        """Take what runs from ``model``."""
        self.model = model.eval()
        self.config = model.config.get_text_config(decoder=True)
        lean = is_llama_family(model)
        self.backend: Backend = LlamaFamilyBackend(model) if lean else TransformersBackend(model)
        self.original_length = original_length(model)

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        compile: bool = False,
        trust_remote_code: bool = False,
    ) -> "Engine":
        """Load a causal language model with its tokenizer from a directory or from the Hugging Face hub.

        Args:
            path_or_hub_id: a directory with ``config.json``, safetensors and tokenizer files, or a hub id.
            dtype: ``auto`` is bfloat16 where the hardware multiplies it natively, else float32.
            device: ``auto`` is CUDA where there is one, else the CPU.
            compile: not offered: `torch.compile` made the engine's own step slower (docs/decisions.md).
            trust_remote_code: let `transformers` run code that the checkpoint brings along.

        Raises:
            CheckpointError: there is no usable model in that place.
            InputError: unknown dtype or device, or ``compile`` asked for.
        """
        if compile:
            raise InputError(
                "compile=True is not offered: with torch.compile the engine's own step was slower; leave it out"
            )
        model, tokenizer = load_checkpoint(path_or_hub_id, dtype, device, trust_remote_code)
        return cls(model, tokenizer, str(path_or_hub_id))

    @classmethod
    def wrap(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "") -> "Engine":
        """An engine around a model that is already in memory; puts it into evaluation mode.

        The engine reads the model's own parameters: later changes to them, by an optimiser for example,
        count.
        """
        return cls(model, tokenizer, name or type(model).__name__)

    @property
    def device(self) -> torch.device:
        """Where the input embeddings are, and so the inputs."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of embeddings, states and memory."""
        return self.model.get_input_embeddings().weight.dtype

    @functools.cached_property
    def chat(self) -> ChatFormat:
        """The chat template of the tokenizer. Raises PromptError if it has none."""
        return ChatFormat(self.tokenizer, self.template)

    def with_template(self, template: TemplateOptions) -> "Engine":
        """The same model, whose prompts are written with these options of the chat template."""
        engine = copy.copy(self)
        engine.template = template
        engine.__dict__.pop("chat", None)
        return engine

    @functools.cached_property
    def origin(self) -> Origin:
        """What the memories that it makes know about it."""
        return Origin.of_model(self.name, self.model, self.tokenizer)

    @functools.cached_property
    def weights_fingerprint(self) -> str:
        """See `interlat.engine.fingerprint`; computed at the first use and kept."""
        return self.origin.weights_fingerprint

    @functools.cached_property
    def tokenizer_fingerprint(self) -> str:
        """See `interlat.engine.fingerprint`."""
        return self.origin.tokenizer_fingerprint

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply: the chat template's, the tokenizer's and the model's end tokens."""
        ids = set(self.chat.stop_ids) if self.tokenizer.chat_template else {self.tokenizer.eos_token_id}
        generation = getattr(self.model, "generation_config", None)
        ends = generation.eos_token_id if generation is not None else None
        ids |= set(ends) if isinstance(ends, list) else {ends}
        return frozenset(i for i in ids if i is not None)

    @property
    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The table of input embeddings: for every token the row that is read as a latent in its place.

        See `interlat.engine.embeddings.input_embeddings`; computed anew each time where the model scales its weight.
        """
        return input_embeddings(self.model)

    @property
    def embedding_rms(self) -> float:
        """Root mean square over all entries of the input embedding table, float32 arithmetic."""
        table = self.input_embeddings
        return float(torch.linalg.vector_norm(table, dtype=torch.float32)) / table.numel() ** 0.5

    @torch.no_grad()
    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows D"]:
        """Input embeddings of token ids."""
        embeddings: Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return embeddings

    @torch.no_grad()
    def logits(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]:
        """Next-token scores of states after the final norm."""
        return next_token_scores(self.model, hidden_states)

    @torch.no_grad()
    def prefill(
        self,
        prompts: Sequence[Prompt | str],
        memory: KVCache | DonatedCache | None = None,
        *,
        segment: str = "prompt",
        room: int = 0,
    ) -> KVCache:
        """Read one prompt a row, after what ``memory`` holds if there is one. The LM head does not run.

        Args:
            prompts: B prompts of any lengths. A list of parts is read as it is. A string that continues no memory
                gets what the tokenizer puts before a text, see `interlat.engine.prompt.begun`.
            memory: the memory of B rows that the prompts continue. It stays as it is, and is copied; a `DonatedCache`
                is given back while it is copied.
            segment: the name that the new columns get.
            room: columns to keep free behind them. Who thinks or reads on first and needs no more than that writes
                there, and the memory is not copied.

        Raises:
            PromptError: a prompt is empty, does not fit into the context, or its latents are not finite or
                not as wide as the model.
            InputError: the memory does not have B rows, or belongs to another model; or ``room`` is negative.
        """
        if room < 0:
            raise InputError(f"room is {room} columns; use 0 or more")
        return self._read(prompts, memory, segment, room=room)[0]

    @torch.no_grad()
    def prefill_hidden(
        self,
        prompts: Sequence[Prompt | str],
        memory: KVCache | DonatedCache | None = None,
        *,
        segment: str = "prompt",
        kept: LayerSelection | None = None,
    ) -> tuple[KVCache, list[Float[Tensor, "T *row_shape"]]]:
        """As `prefill`; also the states at every new position, one tensor a row.

        ``kept`` names the layers, by default the last one after the final norm; several give ``[T, layers, D]``.
        """
        tap = self._tap(kept)
        grown, states, lengths = self._read(prompts, memory, segment, tap)
        width = states.shape[1]
        wanted = states if tap is None else tap.take(states)
        return grown, [wanted[row, width - length :].clone() for row, length in enumerate(lengths)]

    def _tap(self, kept: LayerSelection | None) -> HiddenStateRecorder | None:
        return None if kept is None or kept.is_default else HiddenStateRecorder(kept, self.config.num_hidden_layers)

    def _read(
        self,
        prompts: Sequence[Prompt | str],
        before: KVCache | DonatedCache | None,
        segment: str,
        tap: HiddenStateRecorder | None = None,
        room: int = 0,
    ) -> tuple[KVCache, Tensor, list[int]]:
        moved = _moved(self._empty_memory(len(prompts)) if before is None else before)
        self._check_ready(None if before is None else moved.memory)
        if not prompts:
            raise PromptError("no prompts to read; pass at least one")
        if isinstance(prompts, str):
            raise PromptError(
                f"prompts is the text {prompts[:40]!r}, expected a list of prompts, one a row; pass [text]"
            )
        if len(moved.memory) != len(prompts):
            raise InputError(f"{len(prompts)} prompts for a memory of {len(moved.memory)} rows; pass one prompt a row")
        if before is None:
            prompts = [whole(prompt, self.tokenizer) for prompt in prompts]
        tokenized = [tokenize(prompt, self.tokenizer) for prompt in prompts]
        lengths = [prompt_length(parts) for parts in tokenized]
        for row, (length, read) in enumerate(zip(lengths, moved.memory.next_position.tolist(), strict=True)):
            if not length:
                raise PromptError(f"prompt {row} is empty; it needs at least one token or latent row")
            self._check_fits(f"prompt {row} is", length, read)
        self._check_ids(tokenized)
        width = max(lengths)
        embeddings = embed_prompts(tokenized, self.model.get_input_embeddings(), self.hidden_size, width)
        buffer, memory = KeyValueBuffer.continuing(moved, width + room)
        new_mask = padded_mask(torch.tensor(lengths, device=self.device), width)
        offsets = (new_mask.cumsum(dim=1) - 1).clamp(min=0)
        new_positions = (memory.next_position[:, None] + offsets) * new_mask
        attention_mask = torch.cat([memory.attention_mask, new_mask], dim=1)
        position_ids = torch.cat([memory.position_ids, new_positions], dim=1)
        states = self.backend.start(buffer, attention_mask, position_ids, tap, memory.layer_mask)(embeddings)
        names, number = with_segment(memory.segment_names, segment)
        new_segments = torch.full_like(new_positions, number).masked_fill(~new_mask, -1)
        keys, values = buffer.contents()
        grown = KVCache(
            keys=keys,
            values=values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=torch.cat([memory.segment_ids, new_segments], dim=1),
            segment_names=names,
            next_position=memory.next_position + torch.tensor(lengths, device=self.device),
            hidden_states=states[:, -1].clone(),
            layer_mask=with_columns(memory.layer_mask, width),
            room=buffer.room_behind(keys, values),
            origin=self.origin,
            foreign=memory.foreign,
        )
        return grown, states, lengths

    @torch.no_grad()
    def think(
        self,
        memory: KVCache | DonatedCache,
        latent_steps: int,
        align: Align,
        *,
        segment: str = "latents",
        kept: LayerSelection | None = None,
        tolerance: float = 0.0,
    ) -> tuple[KVCache, Float[Tensor, "B K *row_shape"]]:
        """Take latent steps: the state of the last position, aligned, is the next input (Coconut,
        2412.06769).

        h_0 is ``memory.hidden_states``; step k reads e_k = align(h_{k-1}) and gives h_k. The LM head never
        runs.

        Args:
            memory: B rows; it is copied unless it has room for the steps (`prefill`), a `DonatedCache` is given back
                meanwhile.
            latent_steps: K; 0 returns the memory itself.
            align: maps ``[B, 1, D]`` states after the final norm to ``[B, 1, D]`` input embeddings.
            segment: the name that the new columns get.
            kept: the layers whose states come back; by default the last one after the final norm.
            tolerance: a row stops after the first step k with ``|h_k - h_(k-1)| < tolerance |h_(k-1)|``: it takes no
                more steps and gets no more columns, whatever the others do. 0 never stops.

        Returns:
            The memory with K more columns, and the states h_1 ... h_K (of ``kept``: ``[B, K, layers, D]`` for several).
            Of a row that stopped the further states are zeros; the steps that it took are what its ``next_position``
            moved on.

        Raises:
            PromptError: the steps do not fit into the context.
            InputError: ``latent_steps`` or ``tolerance`` is negative, or the memory belongs to another model.
        """
        moved = _moved(memory)
        self._check_ready(moved.memory)
        if latent_steps < 0 or tolerance < 0:
            raise InputError(f"latent_steps is {latent_steps} and tolerance {tolerance}; use 0 or more")
        tap = self._tap(kept)
        if latent_steps == 0:
            row_shape = (kept or LayerSelection()).row_shape(self.hidden_size)
            memory = moved.take()
            return memory, memory.hidden_states.new_empty(len(memory), 0, *row_shape)
        for row, read in enumerate(moved.memory.next_position.tolist()):
            self._check_fits(f"the latent thought of row {row} takes", latent_steps, read)
        buffer, memory = KeyValueBuffer.continuing(moved, latent_steps)
        attention_mask, position_ids = room_for(memory, latent_steps)
        forward = self.backend.start(buffer, attention_mask, position_ids, tap, memory.layer_mask)
        state = last = memory.hidden_states[:, None]
        moving = torch.ones(len(memory), dtype=torch.bool, device=self.device) if tolerance else None
        thoughts = []
        for column in range(memory.width, attention_mask.shape[1]):
            before, state = state, forward(align(state).to(state.dtype, copy=True))  # CTRL scales its inputs in place
            thoughts.append(state if tap is None else tap.take(state))
            if moving is None:
                last = state
                continue
            last = torch.where(moving.view(-1, 1, 1), state, last)
            thoughts[-1] = thoughts[-1] * moving.view(-1, *[1] * (thoughts[-1].ndim - 1))
            if (stopped := moving & _converged(before, state, tolerance)).any():
                moving = moving & ~stopped
                attention_mask[stopped, column + 1 :] = False
                if not moving.any():
                    break
                forward = self.backend.start(buffer, attention_mask, position_ids, tap, memory.layer_mask)
        taken = len(thoughts)
        width = memory.width + taken
        attention_mask, position_ids = attention_mask[:, :width], position_ids[:, :width]
        names, number = with_segment(memory.segment_names, segment)
        new_segments = torch.full_like(position_ids[:, memory.width :], number)
        next_position = memory.next_position + taken
        if moving is not None:
            new = attention_mask[:, memory.width :]
            new_segments = new_segments.masked_fill(~new, -1)
            position_ids = position_ids * attention_mask
            next_position = memory.next_position + new.sum(dim=1)
        keys, values = buffer.contents()
        grown = replace(
            memory,
            keys=keys,
            values=values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=torch.cat([memory.segment_ids, new_segments], dim=1),
            segment_names=names,
            next_position=next_position,
            hidden_states=last[:, 0].clone(),
            layer_mask=with_columns(memory.layer_mask, taken),
            room=buffer.room_behind(keys, values),
            origin=self.origin,
        )
        missing = latent_steps - taken
        thoughts += [torch.zeros_like(thoughts[0])] * missing
        return grown, torch.cat(thoughts, dim=1)

    @torch.no_grad()
    def decode(
        self,
        memory: KVCache,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        stop_ids: Collection[int] | None = None,
        keep_hidden_states: bool = False,
        *,
        state_at: StateAt = "before_token",
        segment: str = "reply",
    ) -> DecodeOutput:
        """Write tokens until each row stops. Every written token is read back: the memory is exact.

        The stop token is in nothing that comes back and not in the memory: `ChatFormat.continuation` begins
        with it. A row also ends after ``max_new_tokens`` tokens or where the context is full, then with
        ``stopped`` False.

        Args:
            memory: B rows; their ``hidden_states`` predict the first tokens.
            sampling: greedy with the default.
            seeds: one seed a row, needed when ``sampling.temperature`` is positive; see `row_seed`.
            stop_ids: ids that end a row; by default `Engine.stop_ids`. An empty set never stops.
            keep_hidden_states: also return one state a token.
            state_at: row t of the states is the one that *predicted* token t, or the one after *consuming* it.
            segment: the name that the new columns get.

        Raises:
            InputError: seeds are missing or not one a row, or the memory belongs to another model.
        """
        self._check_ready(memory)
        return decode_rows(
            self,
            memory.compact(),
            sampling or Sampling(),
            seeds,
            self.stop_ids if stop_ids is None else frozenset(stop_ids),
            state_at if keep_hidden_states else None,
            segment,
        )

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
        """Answer any number of prompts, ``batch_size`` at a time; a row that has ended makes room for the next.

        What a prompt gets is what `decode` would give it alone. Answers come in the order in which they end. Requests
        are taken as they are needed; the longest first wastes least.

        Args:
            requests: prompts with keys and, for sampling, seeds.
            sampling: greedy with the default.
            batch_size: rows at once.
            stop_ids: ids that end a row; by default `Engine.stop_ids`.
            kept: layers whose states come back; by default the last one after the final norm.
            state_at: see `decode`.
            prompt_states: also return the states at the positions of the prompt.

        Raises:
            PromptError: as `prefill`.
            InputError: batch size below 1, or layers that the model does not have.
        """
        self._check_ready(None)
        ends = self.stop_ids if stop_ids is None else frozenset(stop_ids)
        return write_stream(
            self, requests, sampling or Sampling(), batch_size, ends, kept or LayerSelection(), state_at, prompt_states
        )

    def _empty_memory(self, rows: int) -> KVCache:
        return KVCache(
            keys=(),
            values=(),
            attention_mask=torch.zeros(rows, 0, dtype=torch.bool, device=self.device),
            position_ids=torch.zeros(rows, 0, dtype=torch.long, device=self.device),
            segment_ids=torch.zeros(rows, 0, dtype=torch.long, device=self.device),
            segment_names=(),
            next_position=torch.zeros(rows, dtype=torch.long, device=self.device),
            hidden_states=torch.zeros(rows, self.hidden_size, dtype=self.dtype, device=self.device),
        )

    def _context_length(self) -> int:
        length = getattr(self.config, "max_position_embeddings", None)
        if not isinstance(length, int):
            raise CheckpointError(
                f"the configuration of {self.name} has max_position_embeddings {length!r}, expected the number of "
                "positions that the model can read; write it into config.json"
            )
        return length

    def _check_ready(self, memory: KVCache | None) -> None:
        if self.model.training:
            raise InputError("the model is in training mode; call model.eval() before using the engine")
        if memory is not None:
            self.check_memory(memory)

    def check_memory(self, memory: KVCache) -> None:
        """Check that the engine can go on from a memory: it made it, or an equal one did, or it is released.

        Raises:
            InputError: it has another shape, or another model or tokenizer made it. What differs is named.
        """
        found = layer_shapes(memory)
        if self.memory_shape and (found != self.memory_shape or memory.hidden_states.shape[1] != self.hidden_size):
            raise InputError(
                f"the memory has {shape_text(found, memory.hidden_states.shape[1])}, but {self.name} has "
                f"{shape_text(self.memory_shape, self.hidden_size)}; use the engine that made it"
            )
        if memory.origin is not None and (differing := self.origin.differences(memory.origin)):
            raise InputError(
                f"the memory of {memory.origin.name} does not fit {self.name}: {differing}; use the engine that made "
                "it, or pass memory.released() for what it then means"
            )

    def context_after(self, read: int) -> int:
        """Positions that a row can hold which has read so many: all of the context, except under LongRoPE.

        There a row that began with the short factors ends where these end: what it has read would have other keys and
        values if it were longer. A row that is longer when it begins has the whole context.
        """
        if self.original_length is not None and 0 < read <= self.original_length:
            return min(self.context_length, self.original_length)
        return self.context_length

    def _check_fits(self, what: str, length: int, read: int) -> None:
        if self.context_after(read) < read + length <= self.context_length:
            assert self.original_length is not None, "nothing else shortens a context"
            raise PromptError(f"{what} {length} positions long after {read}, but {crossing(self.original_length)}")
        if read + length > self.context_length:
            after = f" after {read} positions already read" if read else ""
            raise PromptError(
                f"{what} {length} positions long{after}, but the context of {self.name} holds "
                f"{self.context_length}; shorten the prompt or use a model with a longer context"
            )

    def _check_ids(self, prompts: Sequence[Sequence[Tokens | object]]) -> None:
        size = self.model.get_input_embeddings().weight.shape[0]
        for row, parts in enumerate(prompts):
            for part in parts:
                if isinstance(part, Tokens) and (min(part.ids) < 0 or max(part.ids) >= size):
                    raise PromptError(
                        f"prompt {row} has token id {max(part.ids)}, but {self.name} knows ids 0 to "
                        f"{size - 1}; use the model's own tokenizer"
                    )

    def _check_sizes(self) -> None:
        """Input embeddings, states and what the head reads are rows of one size, or nothing can be a latent."""
        read = getattr(self.model.get_input_embeddings(), "embedding_dim", self.hidden_size)
        written = getattr(self.model.get_output_embeddings(), "in_features", self.hidden_size)
        if not read == written == self.hidden_size:
            raise CheckpointError(
                f"{type(self.model).__name__} has states of size {self.hidden_size}, but input embeddings of size "
                f"{read} and a head that reads {written}; a state cannot become a latent there, so it is not supported"
            )

    @torch.no_grad()
    def _check_latents_against_tokens(self) -> None:
        """Compare tokens with latents made of their rows of the input table: a latent must be read like a token."""
        size = self.model.get_input_embeddings().weight.shape[0]
        ids = tuple(i % size for i in (1, 2, 3))
        rows = input_embeddings(self.model, torch.tensor(ids))
        token, latent = self.prefill([[Tokens(ids)], [Tokens(ids[:1]), Latents(rows[1:])]]).hidden_states.float()
        scale, difference = float(token.abs().max()), float((token - latent).abs().max())
        if not difference <= (1e-3 if self.dtype in (torch.float32, torch.float64) else 1e-1) * scale:
            raise CheckpointError(
                f"{type(self.model).__name__} reads a latent made of a token's embedding otherwise than the token "
                f"(difference {difference:.3g} at scale {scale:.3g}): its architecture is not supported"
            )


def _moved(memory: KVCache | DonatedCache) -> DonatedCache:
    return memory if isinstance(memory, DonatedCache) else DonatedCache(memory, given_away=False)


def _converged(before: Tensor, after: Tensor, tolerance: float) -> Tensor:
    """For each row ``[B, 1, D]`` whether its state changed by less than ``tolerance``, as a share of its norm."""
    change = (after.float() - before.float()).norm(dim=-1)[:, 0]
    return change < tolerance * before.float().norm(dim=-1)[:, 0]


def room_for(memory: KVCache, columns: int) -> tuple[Tensor, Tensor]:
    """Mask and positions of a memory with ``columns`` further columns, each row counting on from its own."""
    rows = len(memory)
    ahead = torch.arange(columns, device=memory.next_position.device)
    attention_mask = torch.cat([memory.attention_mask, memory.attention_mask.new_ones(rows, columns)], dim=1)
    position_ids = torch.cat([memory.position_ids, memory.next_position[:, None] + ahead], dim=1)
    return attention_mask, position_ids
