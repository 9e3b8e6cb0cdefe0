"""Loading a model and its tokenizer: all of it, from safetensors, or a clear error."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging

from interlat.engine.hardware import choose_device, choose_dtype
from interlat.errors import CheckpointError

# Names of the class that runs a tokenizer.json exactly as it is written.
GENERIC_CLASSES = {"TokenizersBackend", "PreTrainedTokenizerFast"}
VOCABULARY_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)


def load_tokenizer(path_or_hub_id: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory or hub id, splitting text exactly as it did when it was saved.

    transformers 5 picks the tokenizer class by the model's architecture, and some classes (Qwen 2's among
    them) put splitting rules of their own in the place of the saved ones: a tokenizer trained for the
    checkpoint would silently give other tokens. One that was saved as the generic class is read as that.

    Raises:
        OSError, ValueError: as `transformers` does.
    """
    name = str(path_or_hub_id)
    saved_class = get_tokenizer_config(name).get("tokenizer_class")
    kind = PreTrainedTokenizerFast if saved_class in GENERIC_CLASSES else AutoTokenizer
    tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(name, trust_remote_code=trust_remote_code)
    return tokenizer


# Below this size a model on this machine is there at once, and a bar for each of several would only be noise.
BAR_FROM_BYTES = 2**30


@contextlib.contextmanager
def bar_for_large_models(size: int) -> Iterator[None]:
    """Let transformers show its progress bar only for models of many bytes, which take time to read or write."""
    if size >= BAR_FROM_BYTES or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _size_of(place: Path) -> int:
    """Bytes of the weights in a folder; what is downloaded counts as large."""
    return sum(file.stat().st_size for file in place.glob("*.safetensors")) if place.is_dir() else BAR_FROM_BYTES


def load_checkpoint(
    path_or_hub_id: str, dtype: str | torch.dtype, device: str | torch.device, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (in evaluation mode, on its device) and tokenizer of a directory or hub id; see `Engine.load`.

    Raises:
        CheckpointError: no such place, no model or tokenizer in it, damaged files, or missing weights.
    """
    place = Path(path_or_hub_id)
    if place.is_dir() and not (place / "config.json").is_file():
        raise CheckpointError(f"{place} has no config.json; expected a directory written by save_pretrained")
    if place.is_file():
        raise CheckpointError(f"{place} is a file; expected a directory written by save_pretrained, or a hub id")
    if place.is_dir() and not any((place / name).is_file() for name in VOCABULARY_FILES):
        # Without this, transformers makes up an empty tokenizer for some architectures.
        raise CheckpointError(f"{place} has no tokenizer files; save the tokenizer beside the model (save_pretrained)")
    chosen_device = choose_device(device)
    try:
        tokenizer = load_tokenizer(str(path_or_hub_id), trust_remote_code)
        with bar_for_large_models(_size_of(place)):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(path_or_hub_id),
                dtype=choose_dtype(dtype, chosen_device),
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below as an error, with the missing ones
                trust_remote_code=trust_remote_code,
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _cannot_load(path_or_hub_id, error) from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(key) for key in report["mismatched_keys"])
    if missing or mismatched:
        shown = ", ".join([*missing, *mismatched][:3])
        raise CheckpointError(
            f"{path_or_hub_id} lacks {len(missing) + len(mismatched)} weights that its config asks for, "
            f"or has them in another shape ({shown}); save the whole model again"
        )
    return model.to(device=chosen_device).eval(), tokenizer


def load_model_config(path_or_hub_id: str) -> PreTrainedConfig:
    """The configuration of a model's decoder, without its weights.

    Raises:
        CheckpointError: no such place, or no model in it.
    """
    try:
        return AutoConfig.from_pretrained(path_or_hub_id).get_text_config(decoder=True)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(path_or_hub_id, error) from error


def _cannot_load(path_or_hub_id: str, error: Exception) -> CheckpointError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return CheckpointError(
        f"cannot load a model from {path_or_hub_id}: {reason}; expected a directory written by "
        "save_pretrained (config.json, *.safetensors, tokenizer files) or a hub id that can be reached"
    )


def companion_file(place: str, name: str) -> Path | None:
    """The file ``name`` that interlat keeps beside a checkpoint, in a folder or on the hub; None if there is none."""
    directory = Path(place)
    if directory.is_dir():
        return directory / name if (directory / name).is_file() else None
    try:
        return Path(hf_hub_download(place, name))
    except EntryNotFoundError:  # also raised without a network, for a file that was not downloaded before
        return None
