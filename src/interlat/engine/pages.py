"""Room for large keys and values on the CPU, in pages that go back to the system as soon as they are free."""

import ctypes
import functools
import math
import mmap
from collections.abc import Callable

import torch
from torch import Tensor

OWN_PAGES = 2**20
"""Bytes from which a tensor gets pages of its own, where the caller gives no other number."""


def empty_room(shape: tuple[int, ...], like: Tensor, own_pages: int = OWN_PAGES) -> Tensor:
    """Zeros of the dtype and on the device of another tensor.

    Zeros and not garbage: a masked column still enters the product, and 0 x NaN is NaN.

    Large ones on the CPU are pages of their own, which cost nothing before something is written to them and are gone
    with the tensor. In the heap, what a memory frees layer by layer while it grows leaves holes that are too small for
    its next, larger layers.
    """
    count = math.prod(shape)
    if like.device.type != "cpu" or count * like.element_size() < own_pages:
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
    pages = mmap.mmap(-1, count * like.element_size(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)


def return_free_memory() -> None:
    """Give the free blocks of the heap back to the system, where its C library can (glibc); about 10 ms.

    glibc keeps what it has once given out for blocks of that size: after a long prompt these are its activations.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
