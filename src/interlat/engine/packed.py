"""Linear maps whose weights lie in memory as the CPU's kernels want to read them (oneDNN).

A plain product arranges the weights anew at every call, or reads them badly: on an AMD EPYC packed ones are 2.3 to 3
times faster in float32 from two rows on, and 1.2 to 2 times in bfloat16 up to 32 rows. And a row's result is the same
bit for bit beside others. They are a copy: what is packed takes twice the memory.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from interlat.engine.int8_weights import int8_linear, is_rounded

SWITCH = "INTERLAT_PACKED_WEIGHTS"
"""Environment variable: 0 never packs, 1 does so whatever memory there is."""
SHARE = 0.25
"""Share of the free memory that packed weights may take unless they are asked for."""
SMALLEST = 256
"""Rows and columns from which packing pays."""
ROWS = 512
"""Rows that the kernels are told to expect; with other numbers they were as fast."""


class Linear:
    """``x W^T + b`` of a module, packed or plain; or of several modules that read the same, their results side by side.

    Packed, several are one product, which saves calls and reads small matrices at the speed of large ones.
    """

    def __init__(self, *modules: nn.Linear) -> None:
        self.modules = modules
        self.packed: Tensor | None = None
        self.rounded = all(is_rounded(module.weight) for module in modules)
        """Whether all weights are of int8."""
        self.sizes = [module.weight.shape[0] for module in modules]
        """Columns of the result that come from each module."""
        self._bias: Tensor | None = None
        self._wanted = False
        self._found = self._look()

    @property
    def biased(self) -> bool:
        """Whether a module adds a bias."""
        return any(module.bias is not None for module in self.modules)

    @property
    def bytes_packed(self) -> int:
        """Bytes that packing takes; 0 where it cannot be or does not pay."""
        weights = [module.weight for module in self.modules]
        return sum(one.numel() * one.element_size() for one in weights) if _pays(weights) else 0

    def pack(self) -> None:
        """Pack the weights, if that pays."""
        self._wanted, self.packed, self._bias = True, None, None
        if self.bytes_packed:
            ops: Any = torch.ops.mkldnn
            weights = [module.weight.detach() for module in self.modules]
            self.packed = ops._reorder_linear_weight(weights[0] if len(weights) == 1 else torch.cat(weights), ROWS)
            if self.biased:
                given = ((module.bias, module.weight) for module in self.modules)
                biases = [w.new_zeros(len(w)) if b is None else b.detach() for b, w in given]
                self._bias = biases[0] if len(biases) == 1 else torch.cat(biases)

    def refresh(self) -> None:
        """Look again at weights that were changed since, by an optimiser for example, or replaced."""
        found = self._look()
        if found != self._found:
            self._found = found
            self.rounded = all(is_rounded(module.weight) for module in self.modules)
            if self._wanted:
                self.pack()

    def _look(self) -> list[tuple[int, int, torch.dtype]]:
        """What changes with the numbers in the weights and biases."""
        given = [tensor for module in self.modules for tensor in (module.weight, module.bias) if tensor is not None]
        stored = [getattr(tensor, "qdata", tensor) for tensor in given]
        return [(tensor.data_ptr(), tensor._version, tensor.dtype) for tensor in stored]

    def __call__(self, x: Float[Tensor, "N C"]) -> Float[Tensor, "N E"]:
        if self.packed is None:
            results = self.parts(x)
            return results[0] if len(results) == 1 else torch.cat(list(results), dim=-1)
        ops: Any = torch.ops.mkldnn
        result: Tensor = ops._linear_pointwise(x, self.packed, self._bias, "none", [], "")
        return result

    def parts(self, x: Float[Tensor, "N C"]) -> Sequence[Float[Tensor, "N e"]]:
        """What each module gives."""
        if self.packed is None:
            if self.rounded:
                return [int8_linear(x, module.weight, module.bias) for module in self.modules]
            return [functional.linear(x, module.weight, module.bias) for module in self.modules]
        return self(x).split(self.sizes, dim=-1)


def pack_all(linears: list[Linear]) -> bool:
    """Pack linear maps, all or none; whether that was done.

    Not where they would take more than `SHARE` of the free memory, nor where `SWITCH` forbids it.
    """
    chosen = os.environ.get(SWITCH, "")
    needed = sum(one.bytes_packed for one in linears)
    if chosen == "0" or not needed or (chosen != "1" and needed > SHARE * free_memory()):
        return False
    for one in linears:
        one.pack()
    return True


def free_memory() -> int:
    """Bytes that this machine can give without swapping; 0 where it does not say (not Linux)."""
    place = Path("/proc/meminfo")
    lines = place.read_text().splitlines() if place.exists() else []
    found = next((line for line in lines if line.startswith("MemAvailable")), "MemAvailable: 0")
    return int(found.split()[1]) * 1024


def _pays(weights: Sequence[Tensor]) -> bool:
    first = weights[0]
    # Subclasses of tensors hold other numbers than they show.
    if any(type(one) not in (Tensor, nn.Parameter) for one in weights):
        return False
    if any((one.device.type, one.dtype) != ("cpu", first.dtype) for one in weights):
        return False
    if min(sum(map(len, weights)), first.shape[1]) < SMALLEST or not torch.backends.mkldnn.is_available():
        return False
    ops: Any = torch.ops.mkldnn
    if not all(hasattr(ops, name) for name in ("_reorder_linear_weight", "_linear_pointwise")):
        return False
    if first.dtype == torch.bfloat16:
        return bool(hasattr(ops, "_is_mkldnn_bf16_supported") and ops._is_mkldnn_bf16_supported())
    return first.dtype == torch.float32
