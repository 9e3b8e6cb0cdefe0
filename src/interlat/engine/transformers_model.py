"""Base class of the engines that hold a `transformers` language model in memory."""

import functools
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine.checkpoint import load_checkpoint
from interlat.engine.embeddings import embedding_factor, input_embeddings, next_token_scores
from interlat.engine.hardware import INT8
from interlat.engine.int8_weights import is_rounded
from interlat.engine.origin import Origin
from interlat.engine.protocol import Engine
from interlat.engine.rotary import original_length, read_rows_apart
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError


class TransformersModel(Engine):
    """An engine around a model of `transformers`. Build it with `load` or `wrap`."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, as_loaded: bool = False
    ) -> None:
        read_rows_apart(model)
        self.use(model)
        self.tokenizer = tokenizer
        self.name = name
        self.as_loaded = as_loaded
        self.template = TemplateOptions()
        self.layers: int = self.config.num_hidden_layers
        self.hidden_size: int = self.config.hidden_size
        self.context_length = self._context_length()
        self.revision: str = getattr(model.config, "_commit_hash", None) or "local"
        self._check_sizes()

    def use(self, model: PreTrainedModel) -> None:
        """Run ``model`` from now on."""
        self.model = model.eval()
        self.config = model.config.get_text_config(decoder=True)
        self.original_length = original_length(model)
        self._embedding_factor = embedding_factor(model)

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        trust_remote_code: bool = False,
    ) -> Self:
        """Load a causal language model with its tokenizer from a directory or from the Hugging Face hub.

        Args:
            path_or_hub_id: a directory with ``config.json``, safetensors and tokenizer files; a GGUF file, or a
                directory with one; a PEFT adapter; a name from `interlat models list`; or a hub id. An existing path
                is always read as a path.
            dtype: ``auto`` is bfloat16 if the hardware multiplies it natively, otherwise float32. ``int8`` is bfloat16
                with weights rounded to int8.
            device: ``auto`` is CUDA if there is one, otherwise the CPU.
            trust_remote_code: let `transformers` run code that comes with the checkpoint.

        Raises:
            CheckpointError: there is no usable model in that place.
            InputError: the dtype or the device is unknown.
        """
        model, tokenizer = load_checkpoint(path_or_hub_id, dtype, device, trust_remote_code)
        return cls(model, tokenizer, str(path_or_hub_id), as_loaded=True)

    @classmethod
    def wrap(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "") -> Self:
        """Make an engine around a model that is already in memory, and put the model into evaluation mode.

        The engine uses the model's own parameters, so it sees later changes to them, for example by an optimiser.
        """
        return cls(model, tokenizer, name or type(model).__name__)

    @property
    def device(self) -> torch.device:
        """Device of the input embeddings, and of the inputs."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of embeddings, states and KV caches."""
        return self.model.get_input_embeddings().weight.dtype

    @property
    def number_format(self) -> str:
        """As for every engine, but int8 if the weights are rounded to int8, whatever the format of the states."""
        weights = (one.weight for one in self.model.modules() if isinstance(one, nn.Linear))
        return INT8 if any(is_rounded(weight) for weight in weights) else super().number_format

    @functools.cached_property
    def origin(self) -> Origin:
        """The information about the model that its caches carry."""
        return Origin.of_model(self.name, self.model, self.tokenizer, self.as_loaded)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply: the chat template's, the tokenizer's and the model's end tokens."""
        generation = getattr(self.model, "generation_config", None)
        return self.ends_of_replies(None if generation is None else generation.eos_token_id)

    @property
    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The table of input embeddings: for every token the latent that has the same effect as the token.

        See `interlat.engine.embeddings.input_embeddings`. Computed anew each time if the model scales its weight.
        """
        return input_embeddings(self.model)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that the model can read."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The weight of the LM head."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    @property
    def ties_embeddings(self) -> bool:
        """Whether the LM head and the input embeddings share one table."""
        return bool(self.model.get_input_embeddings().weight.data_ptr() == self.output_embeddings.data_ptr())

    @property
    def scales_embeddings(self) -> bool:
        """Whether the model's input for a token differs from the token's row of the embedding weight."""
        return self.input_embeddings.data_ptr() != self.model.get_input_embeddings().weight.data_ptr()

    @torch.no_grad()
    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows D"]:
        """Input embeddings of token ids."""
        embeddings: Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return embeddings if self._embedding_factor == 1.0 else embeddings * self._embedding_factor

    @torch.no_grad()
    def logits(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]:
        """Next-token scores of states after the final norm, in the number format of the model."""
        return next_token_scores(self.model, hidden_states.to(self.dtype))

    def context_after(self, read: int) -> int:
        """Number of positions that a sequence can hold after it has read ``read``: the context, except under LongRoPE.

        There a sequence that started with the short factors ends where these end, because in a longer sequence the same
        input would have other keys and values. A sequence that starts longer has the whole context.
        """
        if self.original_length is not None and 0 < read <= self.original_length:
            return min(self.context_length, self.original_length)
        return self.context_length

    def _context_length(self) -> int:
        length = getattr(self.config, "max_position_embeddings", None)
        if not isinstance(length, int):
            raise CheckpointError(
                f"the configuration of {self.name} has max_position_embeddings {length!r}, expected the number of "
                "positions that the model can read; write it into config.json"
            )
        return length

    def _check_sizes(self) -> None:
        """Check that input embeddings, states and head have one size. Otherwise a state cannot become a latent."""
        read = getattr(self.model.get_input_embeddings(), "embedding_dim", self.hidden_size)
        written = getattr(self.model.get_output_embeddings(), "in_features", self.hidden_size)
        if not read == written == self.hidden_size:
            raise CheckpointError(
                f"{type(self.model).__name__} has states of size {self.hidden_size}, but input embeddings of size "
                f"{read} and a head that reads {written}; a state cannot become a latent there, so it is not supported"
            )
