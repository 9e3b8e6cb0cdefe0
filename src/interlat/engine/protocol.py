"""The protocol of every engine, and the registry of engines.

Another package adds an engine in one file: a subclass of `Engine`, and an entry point in the group
``interlat.engines``. A subclass inherits the methods that have a body here.
"""

import copy
import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interlat.engine.cache import AnyCache, KVCache, layer_shapes
from interlat.engine.chat import ChatFormat
from interlat.engine.decoding import DecodeOutput
from interlat.engine.fingerprint import tokenizer_fingerprint
from interlat.engine.latent import StateMap
from interlat.engine.origin import Origin, shape_text
from interlat.engine.prompt import Prompts
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Completion, Request
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.places import REMOTE
from interlat.registry import Registry
from interlat.states import StateAt


class Engine(Protocol):
    """Runs one language model, without gradients. `HFEngine` documents the methods.

    The law of batching: the result of a sequence does not depend on the other sequences of its batch.
    """

    name: str
    revision: str = "local"
    tokenizer: PreTrainedTokenizerBase
    template: TemplateOptions = TemplateOptions()
    layers: int
    """Number of decoder layers."""
    hidden_size: int
    context_length: int
    original_length: int | None = None
    """See `interlat.engine.rotary.original_length`."""

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        trust_remote_code: bool = False,
    ) -> Self: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def stop_ids(self) -> frozenset[int]: ...
    @property
    def input_embeddings(self) -> Float[Tensor, "V D"]: ...
    @property
    def output_embeddings(self) -> Float[Tensor, "V D"]: ...
    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows D"]: ...
    def logits(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]: ...
    def prefill(
        self, prompts: Prompts, cache: AnyCache | None = None, *, segment: str = "prompt", spare: int = 0
    ) -> KVCache: ...
    def prefill_hidden(
        self,
        prompts: Prompts,
        cache: AnyCache | None = None,
        *,
        segment: str = "prompt",
        kept: LayerSelection | None = None,
    ) -> tuple[KVCache, list[Float[Tensor, "T *row_shape"]]]: ...
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
    ) -> tuple[KVCache, Float[Tensor, "B K *row_shape"]]: ...
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
    ) -> DecodeOutput: ...
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
    ) -> Iterator[Completion]: ...

    @functools.cached_property
    def chat(self) -> ChatFormat:
        """The chat template of the tokenizer. Raises PromptError if it has none."""
        return ChatFormat(self.tokenizer, self.template)

    def with_template(self, template: TemplateOptions) -> Self:
        """A copy of the engine, on the same model, that writes prompts with these options of the chat template."""
        engine = copy.copy(self)
        engine.template = template
        vars(engine).pop("chat", None)
        return engine

    @functools.cached_property
    def origin(self) -> Origin:
        """The information about the model that its caches carry. Here the weights are unknown."""
        origin = Origin(self.name, {}, lambda: "", lambda: tokenizer_fingerprint(self.tokenizer))
        origin.layer_count, origin.hidden_size = self.layers, self.hidden_size
        return origin

    @property
    def weights_fingerprint(self) -> str:
        """See `interlat.engine.fingerprint`. Computed once, at the first use."""
        return self.origin.weights_fingerprint

    @property
    def tokenizer_fingerprint(self) -> str:
        """See `interlat.engine.fingerprint`."""
        return self.origin.tokenizer_fingerprint

    def ends_of_replies(self, ends: int | Sequence[int] | None) -> frozenset[int]:
        """Ids that end a reply: the end tokens of the chat template, or of the tokenizer if it has no template, and
        those of the model's settings, ``ends``."""
        ids = set(self.chat.stop_ids) if self.tokenizer.chat_template else {self.tokenizer.eos_token_id}
        ids |= set(ends) if isinstance(ends, Sequence) else {ends}
        return frozenset(i for i in ids if i is not None)

    @property
    def number_format(self) -> str:
        """Number format that it computes in, for records, such as bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that the model can read."""
        return len(self.input_embeddings)

    @property
    def ties_embeddings(self) -> bool:
        """Whether the LM head and the input embeddings share one table."""
        return self.input_embeddings.data_ptr() == self.output_embeddings.data_ptr()

    @property
    def scales_embeddings(self) -> bool:
        """Whether the model's input for a token differs from the token's row of the embedding weight."""
        return False

    def context_after(self, read: int) -> int:
        """Number of positions that a sequence can hold after it has read ``read`` of them."""
        return self.context_length

    def check_caches_travel(self, *, int8: bool = False) -> None:
        """Check that the engine can send and read KV caches as messages, rounded to int8 if ``int8``.

        Raises:
            MessageError: it cannot.
        """
        return

    def outgoing(self, cache: KVCache) -> KVCache:
        """The form of a KV cache in a message."""
        return cache

    def incoming(self, cache: KVCache) -> KVCache:
        """The KV cache that this engine makes from the form in a message."""
        return cache

    def check_cache(self, cache: KVCache) -> None:
        """Check that the engine can continue a KV cache: an equal model made it, or it is released.

        Raises:
            InputError: the cache has another shape, or another model or tokenizer made it. The error names what
                differs.
        """
        found, size, mine = layer_shapes(cache), cache.hidden_states.shape[1], self.origin
        if mine.shapes and (found, size) != (mine.shapes, mine.hidden_size):
            raise InputError(
                f"the cache has {shape_text(found, size)}, but {self.name} has {mine.shape}; use the engine that made "
                "it"
            )
        if cache.origin is not None and (differing := mine.differences(cache.origin)):
            raise InputError(
                f"the cache of {cache.origin.name} does not fit {self.name}: {differing}; use the engine that made "
                "it, or pass cache.released() for what it then means"
            )


ENGINES: Registry[type[Engine]] = Registry(
    "engines",
    {
        "hf": "interlat.engine.hf:HFEngine",
        "recurrent": "interlat.engine.recurrent:RecurrentEngine",
        "vllm": "interlat.engine.vllm:VLLMEngine",
        "hybrid": "interlat.engine.vllm:HybridEngine",
    },
)
"""Engines by name. ``hf`` is the reference and runs models with a KV cache. ``recurrent`` runs models whose layers keep
a state. ``vllm`` runs many models in vLLM. ``hybrid`` takes latent steps in hf and does everything else in vLLM."""


def load_model(path_or_hub_id: str, engine: str = "hf", **options: Any) -> Engine:
    """Load a model with the engine of that name.

    Args:
        path_or_hub_id: path or hub id of the model.
        engine: a name in `ENGINES`.
        options: options of the engine, such as dtype and device; see `HFEngine.load`.

    Raises:
        CheckpointError: there is no usable model in that place.
        InputError: there is no such engine, or an option has a wrong value.
    """
    if path_or_hub_id.startswith(REMOTE):
        raise InputError(
            f"{path_or_hub_id} runs behind a server, and the model itself is needed here; give a folder or hub id. "
            "`interlat evaluate` takes it as sender and receiver of text"
        )
    return ENGINES[engine].load(path_or_hub_id, **options)
