"""A tiny random scout, and a receiver of another size with an adapter, as folders on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from model_fixtures import CHATML, tiny_tokenizer

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bop>", "<eop>"]


@pytest.fixture(scope="session")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a random model with its tokenizer into a new folder, as a Hugging Face checkpoint."""

    def make(name: str, hidden_size: int = 32, seed: int = 0, specials: list[str] = SPECIALS) -> Path:
        directory = tmp_path_factory.mktemp("models") / name
        tokenizer = tiny_tokenizer(
            specials, 300, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
        )
        torch.manual_seed(seed)
        config = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
        model = Qwen2ForCausalLM(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return directory

    return make
