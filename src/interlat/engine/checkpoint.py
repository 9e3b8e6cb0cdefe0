"""Loading a model and its tokenizer: all of it, from safetensors, or a clear error."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError, safe_open
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
from interlat.engine.rotary import read_rows_apart
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
    # Settings that make no sense show here and not in the middle of a run.
    tokenizer.decode(tokenizer("a", add_special_tokens=False)["input_ids"], skip_special_tokens=True)
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
        CheckpointError: no such place, no model or tokenizer in it, damaged files, or missing weights; or it needs a
            package or hardware that is missing, as quantised checkpoints do.
    """
    if not str(path_or_hub_id).strip():
        raise CheckpointError("the path of a model is empty; expected a directory or a hub id")
    path_or_hub_id = at_home(path_or_hub_id)
    place = Path(path_or_hub_id)
    if not place.exists() and not _may_be_hub_id(path_or_hub_id):
        raise CheckpointError(f"there is no folder {place}; check the path, or give a hub id such as owner/name")
    if place.is_dir() and not (place / "config.json").is_file():
        raise CheckpointError(f"{place} has no config.json; expected a directory written by save_pretrained")
    if place.is_file():
        raise CheckpointError(f"{place} is a file; expected a directory written by save_pretrained, or a hub id")
    if place.is_dir() and not any((place / name).is_file() for name in VOCABULARY_FILES):
        # Without this, transformers makes up an empty tokenizer for some architectures.
        raise CheckpointError(f"{place} has no tokenizer files; save the tokenizer beside the model (save_pretrained)")
    _check_layers(place)
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(dtype, chosen_device)
    try:
        tokenizer = load_tokenizer(str(path_or_hub_id), trust_remote_code)
        with bar_for_large_models(_size_of(place)):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(path_or_hub_id),
                dtype=chosen_dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below as an error, with the missing ones
                trust_remote_code=trust_remote_code,
            )
    except (ImportError, NotImplementedError, RuntimeError) as error:
        # What a quantisation or an implementation of attention raises where its package or its hardware is missing.
        raise CheckpointError(
            f"{path_or_hub_id} cannot run here: {first_line(error)}; install what is missing, or give a checkpoint "
            "that is not quantised and whose config.json names no attn_implementation"
        ) from error
    except Exception as error:
        # Any: a damaged file makes transformers fail wherever it first uses what it read.
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
    read_rows_apart(model)
    return model.to(device=chosen_device).eval(), tokenizer


def first_line(error: Exception) -> str:
    """The first line of what an error of another library says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _check_layers(place: Path) -> None:
    """Refuse a folder whose config.json names more layers than its weights can have: building them may never end."""
    files = list(place.glob("*.safetensors"))
    try:
        layers = json.loads((place / "config.json").read_text(encoding="utf-8")).get("num_hidden_layers")
        tensors = sum(len(safe_open(file, framework="pt").keys()) for file in files)
    except (OSError, ValueError, AttributeError, RecursionError, SafetensorError):
        return  # the folder is a hub id or damaged in another way, of which loading says more
    if files and isinstance(layers, int) and layers > tensors:
        raise CheckpointError(
            f"{place} names num_hidden_layers {layers} in config.json, but its weights are {tensors} tensors; save the "
            "whole model again"
        )


def at_home(path_or_hub_id: str | Path) -> str:
    """The path with ``~`` as the home folder; a hub id as it is."""
    return str(Path(path_or_hub_id).expanduser()) if str(path_or_hub_id).startswith("~") else str(path_or_hub_id)


def _may_be_hub_id(place: str) -> bool:
    """Whether a name has the form ``name`` or ``owner/name``, and ``owner`` is no folder here."""
    owner, slash, _ = place.partition("/")
    return re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", place) is not None and not (slash and Path(owner).is_dir())


def load_model_config(path_or_hub_id: str) -> PreTrainedConfig:
    """The configuration of a model's decoder, without its weights.

    Raises:
        CheckpointError: no such place, or no model in it.
    """
    try:
        return AutoConfig.from_pretrained(at_home(path_or_hub_id)).get_text_config(decoder=True)
    except Exception as error:
        # Any, as in `load_checkpoint`.
        raise _cannot_load(path_or_hub_id, error) from error


def _cannot_load(path_or_hub_id: str, error: Exception) -> CheckpointError:
    gone = "" if Path(path_or_hub_id).exists() else "there is no such folder here, and as a hub id it cannot be had: "
    return CheckpointError(
        f"cannot load a model from {path_or_hub_id}: {gone}{first_line(error)}; expected a directory written by "
        "save_pretrained (config.json, *.safetensors, tokenizer files) or a hub id that can be reached"
    )


def companion_file(place: str, name: str) -> Path | None:
    """The file ``name`` that interlat keeps beside a checkpoint, in a folder or on the hub; None if there is none."""
    directory = Path(at_home(place))
    if directory.is_dir():
        path = directory / name
        if path.is_symlink() and not path.exists():
            raise CheckpointError(
                f"{path} is a link to {path.readlink()}, which does not exist; restore it or remove it"
            )
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(place, name))
    except EntryNotFoundError:  # also raised without a network, for a file that was not downloaded before
        return None
