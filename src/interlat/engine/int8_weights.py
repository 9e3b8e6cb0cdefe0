"""Weights rounded to int8: half of the memory of bfloat16, by the package torchao.

Each row of a weight matrix is ``scale * q`` with integers ``q`` from -127 to 127 (absmax rounding, as in LLM.int8(),
arXiv 2208.07339, without its outliers). What is multiplied with it stays bfloat16. Embeddings, the LM head and norms
stay as they are.
"""

from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from interlat.engine.fingerprint import loaded_fingerprint, remember_fingerprint
from interlat.errors import CheckpointError

LARGEST = 127
FEW_ROWS = 16
"""Rows up to which the CPU multiplies integers as they are; for more it pays to make numbers of them first."""
BLOCK = 16
"""The kernel for integers reads columns in blocks of so many, and does not look whether the last one is whole."""


def require_torchao() -> None:
    """Raise CheckpointError, with the command that helps, where torchao is missing."""
    if find_spec("torchao") is None:
        raise CheckpointError("weights of int8 need the package torchao; run: pip install 'interlat[int8]'")


def round_weights(model: PreTrainedModel) -> None:
    """Round the weights of all linear maps but the LM head to int8, in place.

    The model keeps the fingerprint of what it was loaded from, as one that is loaded in another number format does.

    Raises:
        CheckpointError: torchao is missing, or the model has no linear maps of bfloat16.
    """
    require_torchao()
    head = model.get_output_embeddings()
    maps = [one for one in model.modules() if type(one) is nn.Linear and one is not head]
    maps = [one for one in maps if type(one.weight) is nn.Parameter and one.weight.dtype == torch.bfloat16]
    if not maps:
        raise CheckpointError(
            f"{type(model).__name__} has no linear maps of bfloat16, which alone can be rounded to int8; load it with "
            "another dtype"
        )
    remember_fingerprint(model, loaded_fingerprint(model))
    for one in maps:
        one.weight = nn.Parameter(rounded(one.weight.detach()), requires_grad=False)


def rounded(weight: Float[Tensor, "E C"]) -> Any:
    """A matrix as torchao's ``Int8Tensor``; each row's scale is its largest size over 127, rounded up to bfloat16."""
    from torchao.quantization import Int8Tensor, PerRow

    wide = weight.float().abs().amax(dim=1, keepdim=True) / LARGEST
    scale = wide.to(torch.bfloat16)
    # Rounded down it would cut off the largest weight of the row.
    scale = torch.where(scale.float() < wide, torch.nextafter(scale, torch.full_like(scale, torch.inf)), scale)
    scale = scale.float().clamp(min=torch.finfo(torch.bfloat16).tiny)
    return Int8Tensor.from_hp(weight, PerRow(), scale=scale)


def is_rounded(weight: Any) -> bool:
    """Whether a weight was rounded as `rounded` does it: torchao has other ways, whose products are its own."""
    return (
        getattr(getattr(weight, "qdata", None), "dtype", None) == torch.int8
        and getattr(weight, "act_quant_kwargs", True) is None
        and weight.scale.shape == (weight.shape[0], 1)
        and bool(torch.equal(weight.scale, weight.scale.bfloat16().to(weight.scale.dtype)))
    )


def int8_linear(x: Float[Tensor, "N C"], weight: Any, bias: Float[Tensor, " E"] | None) -> Float[Tensor, "N E"]:
    """``x W^T + b`` with a rounded weight."""
    if len(x) > FEW_ROWS or x.shape[1] % BLOCK or x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return functional.linear(x, weight, bias)
    scale = weight.scale.view(-1).to(x.dtype)
    product: Tensor = torch.ops.aten._weight_int8pack_mm(x, weight.qdata, scale)
    return product if bias is None else product + bias
