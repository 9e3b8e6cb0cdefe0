"""What this machine computes with, and in which number format it is fastest."""

import platform

import torch

from interlat.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INT8 = "int8"
"""Computes in bfloat16, with weights rounded to int8, see `interlat.engine.int8_weights`."""


def choose_device(device: str | torch.device) -> torch.device:
    """``auto`` is the accelerator if there is one, else the CPU.

    Raises:
        InputError: the device does not exist here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"{device!r} is not a device; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device} asked for, but torch sees {torch.cuda.device_count()} CUDA devices; use auto"
        )
    return chosen


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 products (AMX or AVX512-BF16); else it is emulated."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the hardware multiplies it natively, else float32.

    Raises:
        InputError: unknown name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else cpu_multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    if dtype not in DTYPES:
        raise InputError(
            f"dtype is {dtype!r}; use auto, {', '.join(DTYPES)}, or {INT8} with the engine hf or recurrent"
        )
    return DTYPES[dtype]


def describe_machine() -> str:
    """One line that says on what something was measured."""
    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            names = [line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")]
    except FileNotFoundError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
