"""Loading a model and its tokenizer, of whatever form: all of it, from safetensors or GGUF, or a clear error."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
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

from interlat.catalogue import MODELS
from interlat.engine.fingerprint import loaded_fingerprint, remember_fingerprint
from interlat.engine.gguf import read_config, read_model, read_tokenizer
from interlat.engine.hardware import INT8, choose_device, choose_dtype
from interlat.engine.int8_weights import require_torchao, round_weights
from interlat.engine.peft_adapter import (
    adapter_fingerprint,
    adapter_folder,
    make_room,
    merge_adapter,
    read_added_tokens,
    require_peft,
    with_added_tokens,
)
from interlat.engine.rotary import read_rows_apart
from interlat.errors import CheckpointError
from interlat.files import file_digest, sha256_of
from interlat.places import ADAPTER_CONFIG, adapter_base, gguf_file, model_place

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
    name = model_place(path_or_hub_id)
    if file := gguf_file(name):
        tokenizer: PreTrainedTokenizerBase = read_tokenizer(file)
        return _checked(tokenizer)
    folder = adapter_folder(name)
    if folder is not None and not has_vocabulary(folder):
        return with_added_tokens(load_tokenizer(adapter_base(folder), trust_remote_code), read_added_tokens(folder))
    name = name if folder is None else str(folder)
    saved_class = get_tokenizer_config(name).get("tokenizer_class")
    kind = PreTrainedTokenizerFast if saved_class in GENERIC_CLASSES else AutoTokenizer
    tokenizer = kind.from_pretrained(name, trust_remote_code=trust_remote_code)
    return _checked(tokenizer)


def _checked(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Settings that make no sense show here and not in the middle of a run."""
    tokenizer.decode(tokenizer("a", add_special_tokens=False)["input_ids"], skip_special_tokens=True)
    return tokenizer


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in VOCABULARY_FILES)


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
    """Bytes of the weights in a file or folder; what is downloaded counts as large."""
    files = place.glob("*.safetensors") if place.is_dir() else [place] if place.is_file() else []
    return sum(file.stat().st_size for file in files) if place.exists() else BAR_FROM_BYTES


def load_checkpoint(
    path_or_hub_id: str, dtype: str | torch.dtype, device: str | torch.device, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (in evaluation mode, on its device) and tokenizer of whatever `HFEngine.load` takes.

    What is not plain weights in a folder is known afterwards by the files it came from, see `loaded_fingerprint`.

    Raises:
        CheckpointError: no such place, no model or tokenizer in it, damaged files, or missing weights; or it needs a
            package or hardware that is missing, as quantised checkpoints do.
    """
    if not str(path_or_hub_id).strip():
        raise CheckpointError("the path of a model is empty; expected a directory or a hub id")
    if dtype == INT8:
        require_torchao()
        whole = load_checkpoint(path_or_hub_id, torch.bfloat16, device, trust_remote_code)
        round_weights(whole[0])
        return whole
    place = model_place(path_or_hub_id)
    source = gguf_file(place)
    adapter = None if source else _adapter(place)
    if source is None and adapter is None:
        _check_folder(place)
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(dtype, chosen_device)
    if adapter is not None:
        return _load_adapted(adapter, chosen_dtype, chosen_device, trust_remote_code)
    fingerprint = file_digest(source) if source else ""
    model: Any
    with _loading(path_or_hub_id):
        tokenizer = load_tokenizer(place, trust_remote_code)
        size = _size_of(source or Path(place))
        with bar_for_large_models(size):
            if source is None:
                model, report = _from_safetensors(place, chosen_dtype, chosen_device, trust_remote_code)
            else:
                model, report = read_model(source, chosen_dtype, bar=size >= BAR_FROM_BYTES)
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(key) for key in report["mismatched_keys"])
    if missing or mismatched:
        shown = ", ".join([*missing, *mismatched][:3])
        raise CheckpointError(
            f"{path_or_hub_id} lacks {len(missing) + len(mismatched)} weights that its config asks for, "
            f"or has them in another shape ({shown}); save the whole model again"
        )
    read_rows_apart(model)
    if not getattr(model, "is_quantized", False):
        # A quantised one is there already, and some kinds refuse to be moved.
        model = model.to(device=chosen_device)
    if fingerprint:
        remember_fingerprint(model, fingerprint)
    return model.eval(), tokenizer


def is_plain(path_or_hub_id: str) -> bool:
    """Whether a model is safetensors in a folder or on the hub: no GGUF file and no adapter on another model.

    Raises:
        CheckpointError: there is no model in that place.
    """
    place = model_place(path_or_hub_id)
    if gguf_file(place) or _adapter(place):
        return False
    _check_folder(place)
    return True


@contextlib.contextmanager
def _loading(path_or_hub_id: str) -> Iterator[None]:
    """Turn what other libraries raise while they load a model into one line about it."""
    try:
        yield
    except CheckpointError:
        raise
    except (ImportError, NotImplementedError, RuntimeError) as error:
        # What a quantisation or an implementation of attention raises where its package or its hardware is missing.
        raise CheckpointError(
            f"{path_or_hub_id} cannot run here: {first_line(error)}; install what is missing, or give a checkpoint "
            "that is not quantised and whose config.json names no attn_implementation"
        ) from error
    except Exception as error:
        # Any: a damaged file makes transformers fail wherever it first uses what it read.
        raise _cannot_load(path_or_hub_id, error) from error


def _check_folder(name: str) -> None:
    """Refuse what cannot be a model in safetensors before `transformers` guesses at it."""
    _check_exists(name)
    place = Path(name)
    if place.is_dir() and not (place / "config.json").is_file():
        known = f" (the known model {name} is used only where no folder has its name)" if name in MODELS else ""
        raise CheckpointError(f"{place} has no config.json; expected a directory written by save_pretrained{known}")
    if place.is_file():
        raise CheckpointError(
            f"{place} is a file and not GGUF; expected a directory written by save_pretrained, a GGUF file or a hub id"
        )
    if place.is_dir() and not has_vocabulary(place):
        # Without this, transformers makes up an empty tokenizer for some architectures.
        raise CheckpointError(f"{place} has no tokenizer files; save the tokenizer beside the model (save_pretrained)")
    _check_layers(place)


def _from_safetensors(
    place: str, dtype: torch.dtype, device: torch.device, trust_remote_code: bool
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """The model of a folder or hub id, and what `transformers` says about missing weights."""
    settings, _ = PreTrainedConfig.get_config_dict(place)
    # Quantised weights are packed for the device that they are read to.
    placed = {"device_map": {"": device}} if settings.get("quantization_config") else {}
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        place,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported as an error, with the missing ones
        trust_remote_code=trust_remote_code,
        **placed,
    )
    model, report = loaded
    return model, report


def _adapter(place: str) -> Path | None:
    """See `adapter_folder`; a place that cannot be asked is left to what loads it next."""
    if not Path(place).exists() and not _may_be_hub_id(place):
        return None
    try:
        return adapter_folder(place)
    except OSError:
        return None


def _load_adapted(
    folder: Path, dtype: torch.dtype, device: torch.device, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A PEFT adapter on its base model, merged."""
    require_peft(folder)
    model, tokenizer = _adapter_base(folder, dtype, device, trust_remote_code)
    with _fitting(folder):
        merged = merge_adapter(model, folder, tokenizer)
    remember_fingerprint(merged, loaded_fingerprint(model))
    return merged.eval(), tokenizer


def load_adapter_base(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model of a PEFT adapter as the adapter's training saw it, with the adapter's tokenizer and as many
    embeddings, but without its weights; float32, on the CPU. It is known by the fingerprint of both together.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    model, tokenizer = _adapter_base(folder, torch.float32, torch.device("cpu"), False)
    with _fitting(folder):
        make_room(model, folder, tokenizer)
    return model, tokenizer


def _adapter_base(
    folder: Path, dtype: torch.dtype, device: torch.device, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model with the tokenizer of the adapter, where it has one, and the fingerprint of both together."""
    base = adapter_base(folder)
    try:
        model, tokenizer = load_checkpoint(base, dtype, device, trust_remote_code)
    except CheckpointError as error:
        raise CheckpointError(
            f"the base model of the adapter {folder} cannot be loaded: {error}; or write another place as "
            f"base_model_name_or_path into {folder / ADAPTER_CONFIG}"
        ) from error
    with _fitting(folder):
        tokenizer = load_tokenizer(str(folder), trust_remote_code)
        both = f"{loaded_fingerprint(model)} {adapter_fingerprint(folder)}"
    remember_fingerprint(model, sha256_of(both.encode()))
    return model, tokenizer


@contextlib.contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """Turn what other libraries raise while an adapter is put onto its base into one line about both."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        # Any: peft fails in many ways where adapter and base do not fit each other.
        raise CheckpointError(
            f"the adapter {folder} does not fit its base model {adapter_base(folder)}: {first_line(error)}; give the "
            f"base that it was trained on in {folder / ADAPTER_CONFIG}"
        ) from error


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


def _check_exists(place: str) -> None:
    """Refuse a path at which nothing is."""
    if not Path(place).exists() and not _may_be_hub_id(place):
        raise CheckpointError(f"there is no folder {place}; check the path, or give a hub id such as owner/name")


def _may_be_hub_id(place: str) -> bool:
    """Whether a name has the form ``name`` or ``owner/name``, and ``owner`` is no folder here."""
    owner, slash, _ = place.partition("/")
    return re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", place) is not None and not (slash and Path(owner).is_dir())


def load_model_config(path_or_hub_id: str) -> PreTrainedConfig:
    """The configuration of a model's decoder, without its weights; of an adapter its base model's.

    Raises:
        CheckpointError: no such place, or no model in it.
    """
    place = model_place(path_or_hub_id)
    file = gguf_file(place)
    adapter = None if file else _adapter(place)
    if adapter is not None:
        return load_model_config(adapter_base(adapter))
    with _loading(path_or_hub_id):
        config: PreTrainedConfig = read_config(file) if file else AutoConfig.from_pretrained(place)
        return config.get_text_config(decoder=True)


def _cannot_load(path_or_hub_id: str, error: Exception) -> CheckpointError:
    gone = "" if Path(path_or_hub_id).exists() else "there is no such folder here, and as a hub id it cannot be had: "
    return CheckpointError(
        f"cannot load a model from {path_or_hub_id}: {gone}{first_line(error)}; expected a directory written by "
        "save_pretrained (config.json, *.safetensors, tokenizer files), a GGUF file, a name of `interlat models list` "
        "or a hub id that can be reached"
    )


def companion_file(place: str, name: str) -> Path | None:
    """The file ``name`` that interlat keeps beside a checkpoint, in a folder or on the hub; None if there is none.

    A GGUF file that is named itself is that file alone.
    """
    place = model_place(place)
    directory = Path(place)
    if directory.is_file():
        return None
    if directory.is_dir():
        path = directory / name
        if path.is_symlink() and not path.exists():
            raise CheckpointError(
                f"{path} is a link to {path.readlink()}, which does not exist; restore it or remove it"
            )
        return path if path.is_file() else None
    _check_exists(place)
    try:
        return Path(hf_hub_download(place, name))
    except (EntryNotFoundError, RepositoryNotFoundError):
        # Also raised without a network, for a file that was not downloaded before. A repository that is not there, or
        # not for this user, is the loader's to explain.
        return None
