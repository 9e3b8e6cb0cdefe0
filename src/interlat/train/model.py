"""Small causal language models built from scratch in the Qwen2 architecture, and how checkpoints are written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM


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
        attn_implementation="sdpa",
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def export_model(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, directory: Path, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write model and tokenizer in the Hugging Face layout; the folder appears only once it is whole."""
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    original = next(model.parameters()).dtype
    model.to(dtype).save_pretrained(temporary)  # type: ignore[operator]
    model.to(original)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(directory, ignore_errors=True)
    temporary.rename(directory)
