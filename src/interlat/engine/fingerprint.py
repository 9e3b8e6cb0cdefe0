"""Fingerprints: which weights and which tokenizer made or will read a message."""

import hashlib
import json
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase


def weights_fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all parameters and saved buffers, values rounded to bfloat16.

    Tied weights count once. Rounding makes one checkpoint have one fingerprint, whether a machine loads it as
    bfloat16 or as float32; so a change too small for bfloat16 does not show. Hashes one tensor a thread.
    """
    tensors: dict[str, Tensor] = dict(model.named_parameters())
    saved = model.state_dict(keep_vars=True)
    tensors |= {name: buffer for name, buffer in model.named_buffers() if name in saved}
    names = sorted(tensors)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        digests = list(pool.map(lambda name: _tensor_digest(tensors[name]), names))
    total = hashlib.sha256()
    for name, digest in zip(names, digests, strict=True):
        total.update(f"{name} {list(tensors[name].shape)} {digest}\n".encode())
    return total.hexdigest()


_LOADED: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def remember_fingerprint(model: nn.Module, fingerprint: str) -> None:
    """Note the fingerprint of the files that a model was just loaded from; see `loaded_fingerprint`."""
    _LOADED[model] = fingerprint


def loaded_fingerprint(model: nn.Module) -> str:
    """The fingerprint of a model as it was loaded, to be asked for before anything is trained.

    Of a GGUF file the SHA-256 of the file, whatever it was dequantised to; of a PEFT adapter one over base and adapter,
    since merging rounds otherwise on every machine; of all else `weights_fingerprint`.
    """
    return _LOADED.get(model) or weights_fingerprint(model)


def _tensor_digest(tensor: Tensor) -> str:
    # Rounded weights are hashed by the values that they stand for.
    tensor = tensor.detach().dequantize() if hasattr(tensor, "qdata") else tensor
    if tensor.is_floating_point():
        tensor = tensor.to(torch.bfloat16)
    data: Any = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(data).hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over vocabulary, splitting rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {}
    description = {
        "rules": {name: rules.get(name) for name in ("normalizer", "pre_tokenizer", "model")},
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "special_tokens": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "added_tokens": sorted((i, str(token)) for i, token in tokenizer.added_tokens_decoder.items()),
        "chat_template": tokenizer.chat_template,
    }
    return hashlib.sha256(json.dumps(description, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
