"""Parameters split over several processes (FSDP2), so that a model need not fit on one device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from interlat.engine.distributed import Ranks


def shard(objective: nn.Module, models: Sequence[Any], ranks: Ranks, device: torch.device) -> None:
    """Split all parameters over the ranks, in place: each decoder layer of the models in the objective is gathered for
    as long as it computes.

    Gradients are averaged over the ranks. Does nothing to a single process.
    """
    if ranks.world_size == 1:
        return
    mesh = init_device_mesh(device.type, (ranks.world_size,))
    for model in models:
        layers: list[str] = list(model._no_split_modules or ())
        for module in list(model.modules()):
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def split_again(objective: nn.Module) -> None:
    """Split what a pass without a backward one has left whole, so that `trained_parameters` sees the parameters."""
    if isinstance(objective, FSDPModule):
        objective.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be split over ranks as one; every rank must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def as_split(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another, split over the ranks as that one is."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    split: Tensor = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return split
