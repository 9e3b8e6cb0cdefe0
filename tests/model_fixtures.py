"""Tiny random models of the real architectures, a tiny tokenizer, and slow, obvious references."""

from collections.abc import Callable, Sequence

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from interlat.engine.hf import Engine

SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bop>", "<eop>", "<s>", "</s>", "[INST]", "[/INST]",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
]  # fmt: skip
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant turns') }}{% endif %}{% endfor %}"
)
TEMPLATES = {
    "chatml": (CHATML, {"eos_token": "<|im_end|>"}),
    "llama3": (LLAMA3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    "mistral": (MISTRAL, {"bos_token": "<s>", "eos_token": "</s>"}),
}
ARCHITECTURES = ["qwen2", "qwen3", "llama", "mistral"]


def tiny_tokenizer(specials: Sequence[str], vocabulary_size: int, **options: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that knows some words of the kitchen; ``options`` are those of the class."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(["the kettle is in the drawer", "put the kettle on the stove"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, **options)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """A tokenizer with the named chat template."""

    def make(name: str) -> PreTrainedTokenizerFast:
        template, specials = TEMPLATES[name]
        return tiny_tokenizer(SPECIALS, 320, chat_template=template, **specials)

    return make


@pytest.fixture(scope="session")
def begins_texts() -> PreTrainedTokenizerFast:
    """A tokenizer that begins a text with a token and ends it with another one; its chat template writes the first."""
    template, specials = TEMPLATES["mistral"]
    tokenizer = tiny_tokenizer(SPECIALS, 320, chat_template=template, **specials)
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return tokenizer


def make_model(architecture: str, *, tied: bool = True, attention: str = "sdpa", **changes: object) -> PreTrainedModel:
    """A random float32 model with grouped-query attention; Mistral has a sliding window of 9."""
    shape: dict[str, object] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if architecture == "qwen3":
        shape["head_dim"] = 16
    if architecture == "mistral":
        shape["sliding_window"] = 9
    classes = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
        "llama": (LlamaConfig, LlamaForCausalLM),
        "mistral": (MistralConfig, MistralForCausalLM),
    }
    config_class, model_class = classes[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = model_class._from_config(config_class(**(shape | changes)), attn_implementation=attention)
        for parameter in model.parameters():
            # Larger than the usual initialisation: states differ clearly, choices are no near ties.
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
            else:
                torch.nn.init.normal_(parameter, mean=1.0, std=0.2)
    return model.eval()


def make_longrope(**changes: object) -> PreTrainedModel:
    """A random Phi-3 that reads rows of up to 32 positions with other rotary factors than longer ones."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 4.0, 6.0, 8.0],
        "original_max_position_embeddings": 32,
        "factor": 4.0,
    }
    shape: dict[str, object] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "original_max_position_embeddings": 32,
        "rope_parameters": rope,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = Phi3ForCausalLM(Phi3Config(**(shape | changes)))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim < 2), std=0.2)
    return model.eval()


@pytest.fixture(scope="session", params=[(a, t) for a in ARCHITECTURES for t in (True, False)], ids=str)
def engine(request: pytest.FixtureRequest, make_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Engine:
    """Every architecture, tied and untied."""
    architecture, tied = request.param
    template = {"llama": "llama3", "mistral": "mistral"}.get(architecture, "chatml")
    return Engine.wrap(make_model(architecture, tied=tied), make_tokenizer(template), name=architecture)


@pytest.fixture(scope="session")
def qwen(make_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Engine:
    """One engine for what does not depend on the architecture."""
    return Engine.wrap(make_model("qwen2"), make_tokenizer("chatml"), name="qwen2")


@torch.no_grad()
def states_without_cache(model: PreTrainedModel, embeddings: Tensor) -> Tensor:
    """States after the final norm of one row ``[T, D]``, by one plain forward pass without a cache."""
    output = model(inputs_embeds=embeddings[None], use_cache=False, output_hidden_states=True)
    return output.hidden_states[-1][0]


@pytest.fixture(scope="session")
def slow_states() -> Callable[[PreTrainedModel, Tensor], Tensor]:
    return states_without_cache


@pytest.fixture(scope="session")
def build_model() -> Callable[..., PreTrainedModel]:
    return make_model
