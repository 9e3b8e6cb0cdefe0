"""Low-rank updates (LoRA, arXiv 2106.09685): put into a model, taken over from a PEFT adapter, merged, or written."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine.checkpoint import load_adapter_base
from interlat.engine.fingerprint import loaded_fingerprint
from interlat.engine.peft_adapter import WEIGHTS, adapter_settings, new_rows
from interlat.errors import InputError
from interlat.training.options import Lora

_NAME = "default"
"""Name of the updates within the model; `peft` leaves it out in files."""
_PREFIX = "base_model.model."
"""What `peft` writes before every name in a file."""
_ROWS = "token_adapter.trainable_tokens_delta"
_PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}
"""Fields of an adapter's configuration with which it is ``W + alpha / rank * B A`` and nothing else."""


def inject_updates(model: nn.Module, lora: Lora, seed: int) -> None:
    """Put low-rank updates into the named maps of a model, in place; B is zero, and ``seed`` decides A.

    Raises:
        InputError: peft is not installed, or the model has none of the named maps.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError("LoRA needs peft; install it with: pip install 'interlat[train]'")
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets))
    try:
        inject_adapter_in_model(settings, model, adapter_name=_NAME)
    except ValueError as error:
        raise InputError(f"the model has no linear maps named {', '.join(lora.targets)}; name others") from error


def updates_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The factors A and B in a model by the names of its parameters; empty where it has no updates."""
    return {name: value for name, value in model.named_parameters() if ".lora_A." in name or ".lora_B." in name}


def load_with_updates(folder: Path, lora: Lora) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model of a PEFT adapter with the adapter's updates in it, not merged, so that they can be trained on.

    float32, on the CPU. It is known by the fingerprint of the merged one, and computes the same but for rounding.

    Raises:
        InputError: the adapter is no plain LoRA, or has another shape than ``lora``.
        CheckpointError: as `interlat.engine.checkpoint.load_checkpoint`.
    """
    settings = adapter_settings(folder)
    # peft leaves defaults out of some files.
    other = [name for name, value in _PLAIN.items() if (settings.get(name, value) or value) != value]
    if other:
        raise InputError(
            f"the adapter {folder} is no plain LoRA ({other[0]} is {settings[other[0]]!r}), so it cannot be "
            "trained on; set export to merged"
        )
    rank, alpha, targets = settings["r"], settings["lora_alpha"], settings["target_modules"]
    if (rank, alpha) != (lora.rank, lora.alpha) or set(targets) != set(lora.targets):
        raise InputError(
            f"the adapter {folder} has rank {rank}, alpha {alpha:g} and targets {', '.join(sorted(targets))}, and lora "
            f"rank {lora.rank}, alpha {lora.alpha:g} and {', '.join(sorted(lora.targets))}; give lora the adapter's "
            "shape, or set export to merged"
        )
    model, tokenizer = load_adapter_base(folder)
    inject_updates(model, lora, seed=0)
    updates, stored = updates_of(model), load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, value in updates.items():
            value.copy_(stored[_name_in_file(name)])
        if rows := new_rows(folder):
            for table, name in _tables(model):
                table[rows] = stored[f"{_PREFIX}{name}.{_ROWS}"].to(table.dtype)
    return model, tokenizer


def start_identity(model: nn.Module) -> str:
    """What a training starts from, before anything is changed in it: its files, and whether updates are trained on."""
    return loaded_fingerprint(model) + (", its updates" if updates_of(model) else "")


def merge_updates(model: nn.Module) -> None:
    """Put the updates into the weights and leave the plain model, in place; does nothing to a plain one."""
    if importlib.util.find_spec("peft") is None:
        return
    from peft.tuners.lora import LoraLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                layer: Any = child
                layer.merge()
                setattr(parent, name, layer.get_base_layer())


def write_adapter(model: Any, directory: Path, lora: Lora, base: str, rows: Sequence[int], dtype: torch.dtype) -> None:
    """Write the updates in a model, and the embeddings of new tokens, as a PEFT adapter.

    Args:
        model: with updates of the shape ``lora``.
        directory: an existing folder.
        lora: the shape.
        base: folder, hub id or known name of the model without the updates.
        rows: tokens that the base has no embeddings of; their rows are written too (``trainable_token_indices``).
        dtype: of the file.
    """
    from peft import LoraConfig

    tensors = {_name_in_file(name): value.detach() for name, value in updates_of(model).items()}
    tables = list(_tables(model)) if rows else []
    tensors |= {f"{_PREFIX}{name}.{_ROWS}": table[list(rows)] for table, name in tables}
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=sorted(lora.targets),
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
        trainable_token_indices={name.rpartition(".")[2]: list(rows) for _, name in tables} or None,
    )
    settings.save_pretrained(str(directory))
    rounded = {name: value.to(dtype).contiguous() for name, value in sorted(tensors.items())}
    save_file(rounded, directory / WEIGHTS, metadata={"format": "pt"})


def _name_in_file(name: str) -> str:
    return _PREFIX + name.replace(f".{_NAME}.", ".")


def _tables(model: Any) -> Iterator[tuple[Tensor, str]]:
    """The tables with a row a token, once where they are tied, with the names of their modules."""
    found: set[int] = set()
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight: Any = getattr(module, "weight", None)
        if weight is not None and weight.data_ptr() not in found:
            found.add(weight.data_ptr())
            yield weight.data, next(name for name, one in model.named_modules() if one is module)
