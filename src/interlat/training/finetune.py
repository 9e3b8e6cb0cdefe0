"""Which parameters a training moves: all, LoRA updates beside the adapter, or the adapter alone."""

import importlib.util
from typing import Any

import torch
from torch import nn

from interlat.errors import InputError
from interlat.training.options import Finetune, Lora


def choose_finetuned(model: nn.Module, finetune: Finetune, lora: Lora, seed: int) -> None:
    """Make exactly the parameters that a training may move require a gradient, in place: all of the model, LoRA updates
    whose first values ``seed`` decides, or with "adapter" none here.

    Raises:
        InputError: peft is not installed, or the model has none of the named maps.
    """
    model.requires_grad_(finetune == "full")
    if finetune != "lora":
        return
    if importlib.util.find_spec("peft") is None:
        raise InputError("LoRA needs peft; install it with: pip install 'interlat[train]'")
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets))
    try:
        inject_adapter_in_model(settings, model)
    except ValueError as error:
        raise InputError(f"the model has no linear maps named {', '.join(lora.targets)}; name others") from error


def round_frozen(model: nn.Module) -> None:
    """Keep the linear maps that are not trained in bfloat16, in place; the head, which the losses read, stays.

    They are multiplied in bfloat16 anyway where this is used, so nothing is lost but memory.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not head and not module.weight.requires_grad:
            module.to(torch.bfloat16)


def merge_lora(model: nn.Module) -> None:
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
