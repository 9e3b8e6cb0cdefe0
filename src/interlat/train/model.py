"""Small causal language models built from scratch in the Qwen2 architecture, and how checkpoints are written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from interlat.agents.settings import AgentSettings
from interlat.align.adapter import CommunicationAdapter


@dataclass(frozen=True)
class SmallModel:
    """Shape of a model."""

    hidden_size: int = 128
    """D."""
    layers: int = 4
    """Decoder layers."""
    heads: int = 4
    """Attention heads; keys and values have as many."""
    intermediate_size: int = 384
    """Width of the gated MLP."""
    context_length: int = 1024
    """Most positions."""


def build_model(shape: SmallModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2 model with tied embeddings."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def export_model(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    *,
    settings: AgentSettings | None = None,
    adapter: CommunicationAdapter | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write an agent: model and tokenizer in the Hugging Face layout, ``agent.json``, the adapter if there is one.

    The folder appears only once it is whole. The model's weights are rounded to ``dtype`` in the file only.
    """
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    rounded = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    model.config.dtype = dtype
    model.save_pretrained(temporary, state_dict=rounded)  # type: ignore[operator]
    tokenizer.save_pretrained(temporary)
    if settings is not None:
        settings.save(temporary)
    if adapter is not None:
        adapter.save(temporary)
    shutil.rmtree(directory, ignore_errors=True)
    temporary.rename(directory)
