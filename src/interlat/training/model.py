"""Small causal language models built from scratch, and how checkpoints are written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from interlat.agents.settings import AgentSettings
from interlat.choices import TokenizerFamily
from interlat.connectors.module_file import StoredModule
from interlat.engine.checkpoint import bar_for_large_models
from interlat.files import atomic_folder, write_atomically
from interlat.training.card import CARD_FILE
from interlat.training.options import SmallModel

_CLASSES: dict[TokenizerFamily, tuple[Any, type[PreTrainedModel]]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


def build_model(shape: SmallModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A randomly initialised model with tied embeddings.

    Matrices are drawn from N(0, 1 / fan_in), those that write into the residual stream further divided by the square
    root of twice the number of layers. The 0.02 of Qwen2 is meant for thousands of dimensions: at 128 the scores of
    attention then begin so small that looking anything up takes several times as many steps to learn.
    """
    torch.manual_seed(seed)
    make_config, make_model = _CLASSES[shape.family]
    config = make_config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=shape.tied,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    model = make_model(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = parameter.shape[1] ** -0.5 * ((2 * shape.layers) ** -0.5 if residual else 1.0)
            nn.init.normal_(parameter, std=std)
    return model


def compiled_backbone(model: PreTrainedModel, wanted: bool) -> nn.Module:
    """The model without its head as training calls it: compiled for any length if ``wanted``, else as it is.

    Compiled, attention is the eager one: on a CPU its backward pass fuses well, and the one of SDPA does not. The
    parameters are shared with ``model``. Compiling takes a minute and needs a C++ compiler.
    """
    backbone: nn.Module = model.base_model
    if not wanted:
        return backbone
    model.set_attn_implementation("eager")
    return cast(nn.Module, torch.compile(backbone, dynamic=True))


def export_model(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    *,
    settings: AgentSettings | None = None,
    beside: Sequence[StoredModule] = (),
    card: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write an agent: model and tokenizer in the Hugging Face layout, ``agent.json``, what is beside it, a card.

    The folder appears only once it is whole. The model's weights are rounded to ``dtype`` in the file only.
    """
    state = model.state_dict()
    # Once for each place in memory, so that tied weights are still tied and are written once.
    places = {name: (tensor.data_ptr(), tensor.shape, tensor.stride()) for name, tensor in state.items()}
    once = {places[name]: tensor.to(dtype) for name, tensor in state.items()}
    rounded = {name: once[place] for name, place in places.items()}
    config: Any = model.config
    with atomic_folder(directory) as temporary:
        with bar_for_large_models(sum(tensor.nbytes for tensor in once.values())):
            model.save_pretrained(temporary, state_dict=rounded)  # type: ignore[operator]
        # save_pretrained writes the number format of the model, and not that of the weights in the file.
        config.dtype = dtype
        config.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if settings is not None:
            settings.save(temporary)
        for module in beside:
            module.save(temporary)
        if card is not None:
            write_atomically(temporary / CARD_FILE, card)
