"""A tiny random scout, and a receiver of another size with an adapter, as folders on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from model_fixtures import CHATML, tiny_tokenizer

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bop>", "<eop>"]


@pytest.fixture(scope="session")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a random model with its tokenizer into a new folder, as a Hugging Face checkpoint."""

    def make(
        name: str, hidden_size: int = 32, seed: int = 0, specials: list[str] = SPECIALS, positions: int = 128
    ) -> Path:
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
            max_position_embeddings=positions,
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


def give_adapter(reader: Path, sender: Path) -> None:
    """Let a model of width 16 read the hidden states of another one of width 32, by a random adapter."""
    from interlat.agents.loading import load
    from interlat.agents.settings import AgentSettings
    from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter

    engine = load(sender, dtype=torch.float32).engine
    torch.manual_seed(2)
    adapter = CommunicationAdapter(
        AdapterConfig(
            source_size=32,
            target_size=16,
            heads=4,
            sender="sender",
            sender_fingerprints=(engine.weights_fingerprint,),
            sender_tokenizer_fingerprint=engine.tokenizer_fingerprint,
        )
    )
    adapter.calibrate(1.0, torch.randn(2, 5, 32))
    adapter.save(reader)
    AgentSettings(role="reader", message_kind="hidden").save(reader)


@pytest.fixture(scope="session")
def pair(save_model: Callable[..., Path]) -> dict[str, Path]:
    """Folders of a sender, of a receiver whose adapter reads its states, and of a receiver that reads text."""
    from interlat.agents.settings import AgentSettings

    sender = save_model("sender")
    reader = save_model("reader", hidden_size=16, seed=1)
    give_adapter(reader, sender)
    words = save_model("words", seed=3, positions=512)
    AgentSettings(role="words", message_kind="text").save(words)
    alone = save_model("alone", seed=4)
    AgentSettings(role="alone", message_kind="none").save(alone)
    return {"sender": sender, "reader": reader, "words": words, "alone": alone}


@pytest.fixture(scope="session")
def agents(pair: dict[str, Path]) -> dict[str, Any]:
    """The agents of `pair`, in float32."""
    from interlat.agents.loading import load

    return {name: load(place, dtype=torch.float32) for name, place in pair.items()}
