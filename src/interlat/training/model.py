"""The model of a training: built from scratch or made ready for messages, and how checkpoints are written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import AddedToken
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
from interlat.connectors.adapter import AdapterConfig
from interlat.connectors.module_file import StoredModule
from interlat.engine.checkpoint import bar_for_large_models, load_tokenizer
from interlat.engine.fingerprint import tokenizer_fingerprint
from interlat.engine.peft_adapter import ADDED_TOKENS, with_added_tokens
from interlat.errors import CheckpointError
from interlat.files import atomic_folder, write_atomically
from interlat.training.card import CARD_FILE
from interlat.training.low_rank import inject_updates, updates_of, write_adapter
from interlat.training.options import Finetune, Lora, SmallModel

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
    lora: Lora | None = None,
    base: str = "",
) -> None:
    """Write an agent: model and tokenizer in the Hugging Face layout, ``agent.json``, what is beside it, a card.

    The folder appears only once it is whole. The model's weights are rounded to ``dtype`` in the file only.

    Args:
        lora: the shape of the low-rank updates in the model, of which then a PEFT adapter is written and not the model,
            and matrices of what is beside it in ``dtype`` too.
        base: folder, hub id or known name of the model that the adapter is loaded on.
    """
    with atomic_folder(directory) as temporary:
        if lora is None:
            _write_weights(model, temporary, dtype)
            tokenizer.save_pretrained(temporary)
        else:
            new = _write_tokenizer(tokenizer, load_tokenizer(base), temporary)
            write_adapter(model, temporary, lora, base, new, dtype)
        if settings is not None:
            settings.save(temporary)
        for module in beside:
            module.save(temporary, torch.float32 if lora is None else dtype)
        if card is not None:
            write_atomically(temporary / CARD_FILE, card)


def _write_weights(model: nn.Module, directory: Path, dtype: torch.dtype) -> None:
    state = model.state_dict()
    # Once for each place in memory, so that tied weights are still tied and are written once.
    places = {name: (tensor.data_ptr(), tensor.shape, tensor.stride()) for name, tensor in state.items()}
    once = {places[name]: tensor.to(dtype) for name, tensor in state.items()}
    rounded = {name: once[place] for name, place in places.items()}
    config: Any = model.config
    with bar_for_large_models(sum(tensor.nbytes for tensor in once.values())):
        model.save_pretrained(directory, state_dict=rounded)  # type: ignore[operator]
    # save_pretrained writes the number format of the model, and not that of the weights in the file.
    config.dtype = dtype
    config.save_pretrained(directory)


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase, directory: Path) -> list[int]:
    """Write what a tokenizer has more than the one of a base model; the ids of its new tokens.

    A whole one can be larger than the updates; it is written where it differs in more than special tokens. ``base`` is
    changed.
    """
    known = base.get_vocab()
    added = {token: row for token, row in tokenizer.get_vocab().items() if token not in known}
    words = tokenizer_fingerprint(tokenizer)
    if words != tokenizer_fingerprint(with_added_tokens(base, added)):
        tokenizer.save_pretrained(directory)
    elif added:
        write_atomically(directory / ADDED_TOKENS, json.dumps(added))
    return sorted(set(added.values()))


MESSAGE_TOKENS = (AdapterConfig.bop_token, AdapterConfig.eop_token)
"""What opens and what closes a message, as an agent writes it."""


@torch.no_grad()
def add_message_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str] = MESSAGE_TOKENS
) -> tuple[int, ...]:
    """Give a model and its tokenizer the tokens around a message, in place.

    A token that the tokenizer lacks is added as a special one. Embeddings grow only where an id does not fit: a
    vocabulary that was padded has room. The row of a new token is the mean over the rows of the tokens that the model
    knew before, in the input embeddings and in a head of its own; rows of padding do not count, and rows of known
    tokens stay as they are.

    Returns:
        The ids of the tokens, in order.

    Raises:
        CheckpointError: no token of the tokenizer has a row in the model's embeddings, so the two are not a pair.
    """
    known = set(tokenizer.get_vocab().values())
    old: Any = model.get_input_embeddings()
    rows = old.num_embeddings
    trained = sorted(row for row in known if row < rows)
    if not trained:
        raise CheckpointError(
            f"the embeddings have {rows} rows, but the tokenizer has no id among them; load the model's own tokenizer"
        )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in tokens], special_tokens=True)
    vocabulary = tokenizer.get_vocab()
    needed = max(vocabulary.values()) + 1
    if needed > rows:
        model.resize_token_embeddings(needed, mean_resizing=False)
    new = sorted({vocabulary[token] for token in tokens} - known | set(range(rows, needed)))
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tables = {id(one): one for one in (embedding.weight, getattr(head, "weight", None), getattr(head, "bias", None))}
    for table in tables.values():
        if table is not None:
            # In float32: a mean over a hundred thousand numbers of 8 bits would be rounded away.
            table[new] = table[trained].mean(dim=0, dtype=torch.float32).to(table.dtype)
    return tuple(vocabulary[token] for token in tokens)


def choose_finetuned(model: nn.Module, finetune: Finetune, lora: Lora, seed: int) -> None:
    """Make exactly the parameters that a training may move require a gradient, in place: all of the model, LoRA updates
    whose first values ``seed`` decides, or with "adapter" none here. Updates that are in the model are trained on.

    Raises:
        InputError: peft is not installed, or the model has none of the named maps.
    """
    model.requires_grad_(finetune == "full")
    if finetune == "lora" and not updates_of(model):
        inject_updates(model, lora, seed)
    for update in updates_of(model).values():
        update.requires_grad_(True)


def round_frozen(model: nn.Module) -> None:
    """Keep the linear maps that are not trained in bfloat16, in place; the head, which the losses read, stays.

    They are multiplied in bfloat16 anyway where this is used, so nothing is lost but memory.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not head and not module.weight.requires_grad:
            module.to(torch.bfloat16)
