"""The reference engine: any Hugging Face causal language model, with prefill, latent steps and decoding."""

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine import decoding, streaming
from interlat.engine.backend import TransformersBackend
from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import AnyCache, DonatedCache, KVCache, layer_shapes, positions_ahead
from interlat.engine.checkpoint import first_line
from interlat.engine.embeddings import next_token_scores
from interlat.engine.latent import StateMap, take_latent_steps
from interlat.engine.llama_family import LlamaFamilyBackend, is_llama_family
from interlat.engine.prompt import Prompts, embed_prompts, prompt_length
from interlat.engine.protocol import Engine as EngineProtocol
from interlat.engine.reading import check_fits, checked_prompts
from interlat.engine.recorder import HiddenStateRecorder, LayerSelection
from interlat.engine.self_check import check_against_plain_forward, check_latents_against_tokens
from interlat.engine.transformers_model import TransformersModel
from interlat.errors import CheckpointError, InputError


class HFEngine(TransformersModel):
    """Runs one Hugging Face language model. Build it with `load` or `wrap`.

    The law of batching: the result of a sequence does not depend on the other sequences of its batch. Everything runs
    without gradients.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, as_loaded: bool = False
    ) -> None:
        super().__init__(model, tokenizer, name, as_loaded)
        if as_loaded and isinstance(self.backend, LlamaFamilyBackend):
            self.backend.pack()
        try:
            self.origin.shapes = layer_shapes(check_against_plain_forward(self))
            check_latents_against_tokens(self)
        except (ImportError, NotImplementedError, RuntimeError) as error:
            # The model's own forward pass, such as kernels for a quantised model that this hardware lacks.
            raise CheckpointError(
                f"{self.name} cannot read a few tokens here: {first_line(error)}; use other hardware, another "
                "dtype or another checkpoint"
            ) from error

    def use(self, model: PreTrainedModel) -> None:
        """Run ``model`` from now on."""
        super().use(model)
        kind = LlamaFamilyBackend if is_llama_family(model) else TransformersBackend
        self.backend: LlamaFamilyBackend | TransformersBackend = kind(model)

    @torch.no_grad()
    def logits(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]:
        """Next-token scores of states after the final norm, in the number format of the model."""
        states = hidden_states.to(self.dtype)
        if not isinstance(self.backend, LlamaFamilyBackend) or self.backend.head.packed is None:
            return next_token_scores(self.model, states)
        self.backend.head.refresh()
        scores = self.backend.head(states.reshape(-1, self.hidden_size))
        return scores.view(*states.shape[:-1], scores.shape[-1])

    @torch.no_grad()
    def prefill(
        self, prompts: Prompts, cache: AnyCache | None = None, *, segment: str = "prompt", spare: int = 0
    ) -> KVCache:
        """Read one prompt for each sequence, after the content of ``cache`` if there is one. The LM head does not run.

        Args:
            prompts: B prompts of any lengths. A list of parts is read as it is. A string that does not continue a cache
                gets the tokens that the tokenizer puts before a text, see `interlat.engine.prompt.begun`.
            cache: the KV cache of B sequences that the prompts continue. It is copied and stays as it is. A
                `DonatedCache` is freed while it is copied.
            segment: name of the new positions.
            spare: positions to preallocate. The first continuation that fits is written in place.

        Raises:
            PromptError: a prompt is empty or does not fit into the context, or its latents are not finite or do not
                have the model's hidden size.
            InputError: the cache does not have B sequences, or belongs to another model; or ``spare`` is negative.
        """
        if spare < 0:
            raise InputError(f"spare is {spare} positions; use 0 or more")
        return self._read(prompts, cache, segment, spare=spare)[0]

    @torch.no_grad()
    def prefill_hidden(
        self,
        prompts: Prompts,
        cache: AnyCache | None = None,
        *,
        segment: str = "prompt",
        kept: LayerSelection | None = None,
    ) -> tuple[KVCache, list[Float[Tensor, "T *row_shape"]]]:
        """Like `prefill`, but also return the states at every new position, one tensor for each sequence.

        ``kept`` selects the layers. The default is the last layer after the final norm. Several layers give
        ``[T, layers, D]``.
        """
        recorder = self._recorder(kept)
        grown, states, lengths = self._read(prompts, cache, segment, recorder)
        width = states.shape[1]
        wanted = states if recorder is None else recorder.take(states)
        return grown, [wanted[row, width - length :].clone() for row, length in enumerate(lengths)]

    def _recorder(self, kept: LayerSelection | None) -> HiddenStateRecorder | None:
        return None if kept is None or kept.is_default else HiddenStateRecorder(kept, self.layers)

    def _read(
        self,
        prompts: Prompts,
        before: AnyCache | None,
        segment: str,
        recorder: HiddenStateRecorder | None = None,
        spare: int = 0,
    ) -> tuple[KVCache, Tensor, list[int]]:
        self.check_ready(before)
        none = torch.zeros(len(prompts), self.hidden_size, dtype=self.dtype, device=self.device)
        given = KVCache.empty(none) if before is None else before
        next_position = _shown(given).next_position.tolist()
        tokenized = checked_prompts(self, prompts, next_position, begins=before is None)
        lengths = [prompt_length(parts) for parts in tokenized]
        embeddings, mask = embed_prompts(tokenized, self.model.get_input_embeddings(), self.hidden_size)
        buffer, cache = KeyValueBuffer.continuing(given, mask.shape[1] + spare)
        positions = (cache.next_position[:, None] + (mask.cumsum(dim=1) - 1).clamp(min=0)) * mask
        attention_mask = torch.cat([cache.attention_mask, mask], dim=1)
        position_ids = torch.cat([cache.position_ids, positions], dim=1)
        states = self.backend.start(buffer, attention_mask, position_ids, recorder, cache.layer_mask)(embeddings)
        return buffer.grown(cache, mask, segment, states[:, -1].clone(), self.origin), states, lengths

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
        """Take latent steps: the connector maps the last state to the next input (Coconut, arXiv 2412.06769).

        h_0 is ``cache.hidden_states``. Step k reads e_k = connector(h_{k-1}) and gives h_k. The LM head runs only for
        ``stop_ids``.

        Args:
            cache: KV cache of B sequences. It is copied unless it has spare capacity for the steps (`prefill`). A
                `DonatedCache` is freed while it is copied.
            latent_steps: number of steps K. 0 returns the cache itself.
            connector: maps ``[B, 1, D]`` states after the final norm to ``[B, 1, D]`` input embeddings.
            segment: name of the new positions.
            kept: layers whose states are returned. The default is the last layer after the final norm.
            tolerance: a sequence stops after the first step k with ``|h_k - h_(k-1)| < tolerance |h_(k-1)|``. It takes
                no more steps and gets no more positions, whatever the other sequences do. 0 never stops.
            stop_ids: a sequence also stops before step k if the most probable next token after h_(k-1) is one of these.
                It may take no step at all. With `Engine.stop_ids` a sequence stops where the model would end its turn.

        Returns:
            The cache with K more positions, or fewer if all sequences stopped earlier, and the states h_1 ... h_K (of
            ``kept``: ``[B, K, layers, D]`` for several layers). After a sequence has stopped, its states are zeros. Its
            ``next_position`` grows by the number of steps that it took.

        Raises:
            PromptError: the steps do not fit into the context.
            InputError: ``latent_steps`` or ``tolerance`` is negative, or the cache belongs to another model.
        """
        self.check_ready(cache)
        if latent_steps < 0 or tolerance < 0:
            raise InputError(f"latent_steps is {latent_steps} and tolerance {tolerance}; use 0 or more")
        if latent_steps == 0:
            unchanged = cache.take() if isinstance(cache, DonatedCache) else cache
            row_shape = (kept or LayerSelection()).row_shape(self.hidden_size)
            return unchanged, unchanged.hidden_states.new_empty(len(unchanged), 0, *row_shape)
        for row, read in enumerate(_shown(cache).next_position.tolist()):
            check_fits(self, f"the latent thought of sequence {row} takes", latent_steps, read)
        recorder = self._recorder(kept)
        buffer, before = KeyValueBuffer.continuing(cache, latent_steps)
        mask, position_ids = positions_ahead(before, latent_steps)
        forward = self.backend.start(buffer, mask, position_ids, recorder, before.layer_mask)
        previous = last = before.hidden_states[:, None]
        ends = torch.tensor(sorted(stop_ids), device=self.device)
        moving = torch.ones(len(before), dtype=torch.bool, device=self.device)
        thoughts: list[Tensor] = []

        def step(inputs: Tensor) -> Tensor:
            return forward(inputs)

        def goes_on(taken: int, previous: Tensor, state: Tensor) -> bool:
            """Stop the sequences that take no step more after these; whether any takes one."""
            nonlocal forward, moving
            stopped = torch.zeros_like(moving)
            if taken and tolerance:
                stopped |= moving & _converged(previous, state, tolerance)
            if stop_ids:
                stopped |= moving & torch.isin(self.logits(last[:, 0]).argmax(dim=-1), ends)
            if stopped.any():
                moving = moving & ~stopped
                mask[stopped, before.width + taken :] = False
                forward = self.backend.start(buffer, mask, position_ids, recorder, before.layer_mask)
            return bool(moving.any())

        may_stop = tolerance > 0 or len(stop_ids) > 0
        count = latent_steps if not may_stop or goes_on(0, last, last) else 0
        for taken, state in enumerate(take_latent_steps(step, connector, last, count), 1):
            thought = state if recorder is None else recorder.take(state)
            if may_stop:
                last = torch.where(moving.view(-1, 1, 1), state, last)
                thought = thought * moving.view(-1, *[1] * (thought.ndim - 1))
            else:
                last = state
            thoughts.append(thought)
            if may_stop and taken < count and not goes_on(taken, previous, state):
                break
            previous = state
        shape = (kept or LayerSelection()).row_shape(self.hidden_size)
        missing = last.new_zeros(len(before), latent_steps - len(thoughts), *shape)
        read = mask[:, before.width :][:, : len(thoughts)]
        grown = buffer.grown(before, read, segment, last[:, 0].clone(), self.origin)
        return grown, torch.cat([*thoughts, missing], dim=1)

    decode = decoding.decode
    stream = streaming.stream

    def check_ready(self, cache: AnyCache | None) -> None:
        if self.model.training:
            raise InputError("the model is in training mode; call model.eval() before using the engine")
        if cache is not None:
            self.check_cache(_shown(cache))


def reference_engine(engine: EngineProtocol) -> HFEngine:
    """The engine, for code that needs its model. Raises InputError if it is not an `HFEngine`."""
    if not isinstance(engine, HFEngine):
        raise InputError(f"{engine.name} runs in a {type(engine).__name__}, which shows no modules; load it with hf")
    return engine


def _shown(cache: AnyCache) -> KVCache:
    return cache.cache if isinstance(cache, DonatedCache) else cache


def _converged(before: Tensor, after: Tensor, tolerance: float) -> Tensor:
    """Whether the state of each sequence, ``[B, 1, D]``, changed by less than ``tolerance`` times its norm."""
    change = (after.float() - before.float()).norm(dim=-1)[:, 0]
    return change < tolerance * before.float().norm(dim=-1)[:, 0]


Engine = HFEngine
