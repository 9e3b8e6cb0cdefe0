"""Reading a GGUF file (llama.cpp): model, tokenizer and chat template from the one file, weights dequantised.

`transformers` reads the parts; here is what it leaves out: one reading of the configuration for all who ask, rotary
scaling, and a model like any other afterwards, which can be trained and saved.
"""

import contextlib
import copy
import functools
import io
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from interlat.errors import CheckpointError

PACKAGES = ("gguf", "accelerate")
_ROTARY_FACTORS = "rope_freqs.weight"
# Number formats of metadata, by their codes in the file; 8 is a string and 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def require_packages(what: str) -> None:
    """Raise CheckpointError, with the command that helps, where a package that reads GGUF files is missing."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise CheckpointError(f"{what} needs the package {package}; run: pip install 'interlat[gguf]'")


def read_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """The tokenizer and the chat template in a file, with the splitting rules that it names.

    Raises:
        CheckpointError: a package is missing.
        OSError, ValueError, KeyError: as `transformers` does.
    """
    require_packages(str(file))
    return PreTrainedTokenizerFast.from_pretrained(str(file.parent), gguf_file=file.name)


def read_config(file: Path) -> PreTrainedConfig:
    """The configuration of the model in a file, without its weights.

    Raises:
        CheckpointError: the file is damaged, a package is missing, or positions are rotated in a way that cannot be
            expressed.
        ValueError, KeyError: as `transformers` does.
    """
    require_packages(str(file))
    state = file.stat()
    return copy.deepcopy(_read_config(file.resolve(), state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=8)
def _read_config(file: Path, size: int, changed: int) -> PreTrainedConfig:
    """Cached by size and time of change: one parsing takes seconds."""
    config: PreTrainedConfig = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    _set_rotary_scaling(config, GGUFHeader.read(file), file)
    return config


def read_model(file: Path, dtype: torch.dtype, bar: bool) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """The model in a file, and what `transformers` says about missing weights.

    Args:
        file: the file.
        dtype: what the weights are dequantised to: exactly where the file holds float32 or float16 and ``dtype`` is
            as wide, else rounded once. A head that the file holds apart from the input embeddings stays apart.
        bar: show the progress bar.

    Raises:
        CheckpointError, OSError, ValueError: as `read_config`.
    """
    options: dict[str, Any] = {}
    if kind := getattr(transformers, "GgufConfig", None):
        options["quantization_config"] = kind(dequantize=True)
    with _tqdm_silent(unless=bar):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            config=read_config(file),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    model, report = loaded
    # The weights are plain ones now; with these marks transformers would refuse to train or to save them.
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(model).pop(name, None)
    vars(model.config).pop("quantization_config", None)
    return model, report


@contextlib.contextmanager
def _tqdm_silent(unless: bool) -> Iterator[None]:
    """Hide the bar of dequantising, which takes no heed of the switch of `transformers`."""
    with contextlib.nullcontext() if unless else contextlib.redirect_stderr(io.StringIO()):
        yield


def _set_rotary_scaling(config: PreTrainedConfig, header: "GGUFHeader", file: Path) -> None:
    """Put the scaling of rotary positions into the configuration, which `transformers` does not read from a file.

    Llama 3's factors are a tensor in the file, ``rope_freqs.weight``: they are compared with those that the rule
    ``llama3`` gives with the parameters of the published models and the factor of the lowest frequency.

    Raises:
        CheckpointError: it is of another kind; positions would be rotated wrongly, and nobody would notice.
    """
    kind = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    parameters = parameters.get("full_attention", parameters)
    if kind != "none" and parameters.get("rope_type", "default") == "default":
        if kind != "linear":
            raise CheckpointError(
                f"{file} scales rotary positions by the rule {kind}, which cannot be read from GGUF yet; give the "
                "checkpoint in safetensors"
            )
        parameters |= {"rope_type": "linear", "factor": header.metadata[f"{header.architecture}.rope.scaling.factor"]}
    if _ROTARY_FACTORS in header.tensors and header.architecture == "llama":
        factors = header.float32(_ROTARY_FACTORS)
        parameters |= {
            "rope_type": "llama3",
            "factor": round(float(factors.max()), 3),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
        if not torch.allclose(_llama3_factors(config), factors, rtol=1e-3):
            raise CheckpointError(
                f"{file} holds rotary factors (rope_freqs.weight) that are not those of Llama 3; give the checkpoint "
                "in safetensors"
            )


def _llama3_factors(config: PreTrainedConfig) -> torch.Tensor:
    """What the rule divides each rotary frequency by ``[head size / 2]``."""
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = config.rope_parameters["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    return plain / scaled


@dataclass(frozen=True)
class GGUFHeader:
    """What stands before the weights in a GGUF file (versions 2 and 3, little-endian)."""

    path: Path
    metadata: Mapping[str, Any]
    """Numbers and strings by name; of an array its length."""
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]] = field(repr=False)
    """Shape, the code of the number format and the place in the file, by name."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self.metadata.get("general.architecture", ""))

    @classmethod
    def read(cls, path: Path) -> "GGUFHeader":
        """Read it; of the weights nothing is touched.

        Raises:
            CheckpointError: the file is cut off, or of another version.
        """
        with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return cls(path, *_Reader(content).header())
            except (struct.error, KeyError, UnicodeDecodeError, OverflowError) as error:
                raise CheckpointError(f"{path} is damaged or no GGUF file of version 2 or 3; fetch it again") from error

    def float32(self, name: str) -> torch.Tensor:
        """A tensor of float32, flat."""
        shape, _, start = self.tensors[name]
        with open(self.path, "rb") as handle:
            handle.seek(start)
            return torch.frombuffer(bytearray(handle.read(4 * math.prod(shape))), dtype=torch.float32)


class _Reader:
    """Goes through the bytes of a header."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._place = content, 4

    def header(self) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int, int]]]:
        """Metadata and tensors."""
        version, tensor_count, count = self._number("I"), self._number("Q"), self._number("Q")
        if version not in (2, 3):
            raise KeyError(version)
        metadata = {self._string(): self._value(self._number("I")) for _ in range(count)}
        found = {}
        for _ in range(tensor_count):
            name = self._string()
            shape = tuple(self._number("Q") for _ in range(self._number("I")))
            found[name] = shape, self._number("I"), self._number("Q")
        alignment = metadata.get("general.alignment", 32)
        first = -(-self._place // alignment) * alignment
        return metadata, {name: (shape, kind, first + start) for name, (shape, kind, start) in found.items()}

    def _number(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self._content, self._place)
        self._place += struct.calcsize(kind)
        return value

    def _string(self) -> str:
        size = self._number("Q")
        self._place += size
        if self._place > len(self._content):
            raise struct.error("the file ends within a string")
        return self._content[self._place - size : self._place].decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_SCALARS[kind])
        inner, count = self._number("I"), self._number("Q")
        if inner in _SCALARS:
            self._place += count * struct.calcsize(_SCALARS[inner])
        else:
            for _ in range(count):
                self._value(inner)
        return count
