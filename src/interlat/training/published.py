"""Importing actors in the format that the published Interlat code (arXiv 2511.09149) saves.

A folder of that code holds the language model in the Hugging Face layout, its tokenizer, the adapter as
``hidden_mha_state.pt``, and ``prepended_config.json``. Much that a receiver has to know is not in there; what is
missing or doubtful is returned in words, to be read by the person who imports.
"""

import functools
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.checkpoint import VOCABULARY_FILES, load_checkpoint, load_tokenizer
from interlat.errors import CheckpointError, InputError
from interlat.files import require_empty
from interlat.states import StateAt
from interlat.store.hub import hub_errors
from interlat.training.model import export_model

CONFIG_FILE = "config.json"
ADAPTER_STATE_FILE = "hidden_mha_state.pt"
PREPENDED_FILE = "prepended_config.json"
DEFAULT_STATE_FILE = "default_prepended_hidden_state.pt"
PICKLED_MODEL_FILE = "pytorch_model.bin"
MODEL_FILES = "model*.safetensors"
BASE_FILES = ["*.json", MODEL_FILES, "*.model", "*.txt", "*.jinja"]

# What every training prompt said: the system turn, and the words between the task and the message. Learned with the
# weights, so a part of the format although no file of it holds them.
SYSTEM_PROMPT = "You are a helpful assistant."
CONNECTOR = "\nNow, you are given a step-by-step plan to complete this task as follow: "
MARKER_TOKEN = "<FIRST_HUMAN_END>"

# Published name of each parameter -> name in `CommunicationAdapter`.
PARAMETERS = {
    "pre_ln.weight": "input_norm.weight",
    "pre_ln.bias": "input_norm.bias",
    "hidden_mha.in_proj_weight": "attention.queries_keys_values.weight",
    "hidden_mha.in_proj_bias": "attention.queries_keys_values.bias",
    "hidden_mha.out_proj.weight": "attention.output.weight",
    "hidden_mha.out_proj.bias": "attention.output.bias",
    "post_ln.weight": "attention_norm.weight",
    "post_ln.bias": "attention_norm.bias",
    "adaptive_proj.scale": "projection.input_scale",
    "adaptive_proj.proj.0.weight": "projection.expand.weight",
    "adaptive_proj.proj.0.bias": "projection.expand.bias",
    "adaptive_proj.proj.2.weight": "projection.norm.weight",
    "adaptive_proj.proj.2.bias": "projection.norm.bias",
    "adaptive_proj.proj.3.weight": "projection.contract.weight",
    "adaptive_proj.proj.3.bias": "projection.contract.bias",
    "adaptive_proj.output_scale": "projection.output_scale",
}
# Copies of the two scales beside the parameters; the published code can leave them behind while it trains.
SCALES = ("scale", "output_scale")
# What a parameter is in every element before training, for those that do not begin at random.
INITIAL_VALUES = {
    "pre_ln.weight": 1.0,
    "pre_ln.bias": 0.0,
    "hidden_mha.in_proj_bias": 0.0,
    "hidden_mha.out_proj.bias": 0.0,
    "post_ln.weight": 1.0,
    "post_ln.bias": 0.0,
    "adaptive_proj.scale": 0.2,
    "adaptive_proj.proj.0.bias": 0.0,
    "adaptive_proj.proj.2.weight": 1.0,
    "adaptive_proj.proj.2.bias": 0.0,
    "adaptive_proj.proj.3.bias": 0.0,
    "adaptive_proj.output_scale": 0.1,
}
GET_WEIGHTS = "get the weights as torch.save writes them, or as a safetensors file"
# Names of safetensors for the formats that weights come in.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class _Prepended:
    """What ``prepended_config.json`` says."""

    hidden_size: int
    """Size of the receiver's embeddings."""
    heads: int
    """Attention heads of the adapter."""
    kept_rows: int | None
    """Training cut messages to this many first rows; None if that is not said."""
    learnable: bool
    """Whether there was a learnable state for a missing message."""
    loss_weights: Mapping[str, Any]
    """The two weights of the loss that it names."""


@dataclass(frozen=True)
class _AdapterState:
    """What ``hidden_mha_state.pt`` holds."""

    parameters: Mapping[str, Tensor]
    """By published name, as stored."""
    scales: Mapping[str, float]
    """The numbers beside them."""


def import_checkpoint(source: str | Path, output: str | Path, state_at: StateAt, *, base: str = "") -> list[str]:
    """Write the published checkpoint in ``source`` as an actor that `interlat.load` reads.

    The weights keep their values and their dtype; those of the adapter become float32. A head that was trained apart
    from embeddings that the configuration calls tied stays apart. No pickle is run, and ``pytorch_model.bin`` is not
    read.

    Args:
        source: folder that the published training code wrote.
        output: folder for the actor; new, or empty.
        state_at: which state of each token the messages of its training held; no file of the format says so.
        base: folder or hub id to take the language model from, for a ``source`` without its weights.

    Returns:
        What is unreliable in this checkpoint, a sentence each.

    Raises:
        CheckpointError: a part is missing or damaged, is not plain weights, or parts do not fit each other.
        InputError: ``output`` is not empty, ``base`` is not needed, or cannot be had.
        StorageError: the file system refused.
    """
    folder, target = Path(source), Path(output)
    require_empty(target)
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{folder} has no {CONFIG_FILE}, expected a folder that the published training code wrote; "
            "give such a folder, downloaded if it is on the hub"
        )
    prepended = _read_prepended(folder / PREPENDED_FILE)
    state = _read_adapter_state(folder / ADAPTER_STATE_FILE)
    config = AdapterConfig(
        source_size=prepended.hidden_size,
        target_size=prepended.hidden_size,
        heads=prepended.heads,
        state_at=state_at,
        max_rows=prepended.kept_rows,
    )
    adapter = _make_adapter(config, state, folder / ADAPTER_STATE_FILE)
    backbone = _backbone_folder(folder, base)
    dtype = _saved_dtype(backbone)
    model, tokenizer = load_checkpoint(str(backbone), dtype, "cpu", False)
    if backbone != folder:
        _check_base(model, _read_json(folder / CONFIG_FILE), base)
        if any((folder / name).is_file() for name in VOCABULARY_FILES):
            tokenizer = _read_tokenizer(folder)
    _check_sizes(model, tokenizer, config)
    head_is_apart = _untie_if_apart(model)
    settings = AgentSettings(role="actor", system_prompt=SYSTEM_PROMPT, connector=CONNECTOR, message_kind="hidden")
    export_model(model, tokenizer, target, settings=settings, beside=[adapter], dtype=dtype)
    return [
        *_about_messages(config),
        *_about_adapter(state, prepended, (folder / DEFAULT_STATE_FILE).exists()),
        *_about_model(tokenizer, config, dtype, head_is_apart, base),
    ]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, expected a folder that the published training code wrote")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no JSON object ({error}); copy it again") from error


def _read_prepended(path: Path) -> _Prepended:
    fields = _read_json(path)
    size, heads = (fields.get(name) for name in ("hidden_size", "mha_num_heads"))
    if type(size) is not int or type(heads) is not int or size < 1 or heads < 1 or size % heads:
        raise CheckpointError(
            f"{path} says hidden_size {size!r} and mha_num_heads {heads!r}, expected two numbers of which the second "
            "divides the first; correct them"
        )
    length = fields.get("prepended_length")
    return _Prepended(
        size,
        heads,
        length if type(length) is int and length > 0 else None,
        bool(fields.get("prepended_learnable")),
        {name: fields[name] for name in ("plan_similarity_weight", "random_contrast_weight") if name in fields},
    )


def _read_adapter_state(path: Path) -> _AdapterState:
    parameters: dict[str, Any] = {}
    scales: dict[str, Any] = {}
    for part, content in read_weights(path).items():
        if part in SCALES:
            scales[part] = content
        elif isinstance(content, dict):
            parameters |= {f"{part}.{name}": tensor for name, tensor in content.items()}
        else:
            parameters[part] = content
    odd = {name for name, value in parameters.items() if not _is_plain(value)}
    odd |= {name for name, value in scales.items() if type(value) is not float}
    wrong = sorted(map(str, odd | (PARAMETERS.keys() ^ parameters.keys())))
    if wrong:
        raise CheckpointError(
            f"{path} is not the state of a published adapter: missing, unknown or of a wrong type are "
            f"{', '.join(map(repr, wrong))[:200]}; give one that holds pre_ln, hidden_mha, post_ln and adaptive_proj, "
            "as the current published code saves it"
        )
    return _AdapterState(parameters, scales)


def _is_plain(value: Any) -> bool:
    """Whether a value is a tensor of floating-point numbers in memory, neither sparse nor without contents."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
    )


def read_weights(path: str | Path) -> dict[Any, Any]:
    """The dictionary in a file of `torch.save`, without running what its pickle says (``weights_only``).

    The tensors are mapped into memory. Mapping checks no sums of the zip archive and takes compressed entries as they
    are, so both are checked before.

    Raises:
        CheckpointError: no such file, damaged, not of this format, or anything in it is not plain weights.
    """
    place = Path(path)
    if not place.is_file():
        raise CheckpointError(f"there is no file {place}; expected one that torch.save wrote")
    try:
        with zipfile.ZipFile(place) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type or entry.flag_bits & 1]
            damaged = None if packed else archive.testzip()
        content = None if packed or damaged else torch.load(place, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # zipfile and torch raise whatever they come across in bytes that make no sense
        name = re.search(r"GLOBAL (\S+)", str(error))
        if name is not None:
            raise CheckpointError(f"{place} names {name[1][:60]}, which is not plain weights; {GET_WEIGHTS}") from error
        reason = " ".join(str(error).split())[:60] or type(error).__name__
        raise CheckpointError(
            f"{place} is damaged or older than torch 1.6 ({reason}); copy it again, or {GET_WEIGHTS}"
        ) from error
    if damaged:
        raise CheckpointError(f"{place} is damaged (the checksum of {damaged[:60]!r} is wrong); copy it again")
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{place} holds {'compressed or encrypted entries' if packed else f'a {type(content).__name__}'}, which is "
            f"not plain weights; {GET_WEIGHTS}"
        )
    return content


def _make_adapter(config: AdapterConfig, state: _AdapterState, path: Path) -> CommunicationAdapter:
    stored = list(state.parameters["pre_ln.weight"].shape)
    if stored != [config.target_size]:
        raise CheckpointError(
            f"{path} holds an adapter of size {stored}, but {PREPENDED_FILE} says hidden_size {config.target_size}; "
            "use files of one checkpoint"
        )
    with torch.device("meta"):
        adapter = CommunicationAdapter(config)
    expected = {name: tensor.shape for name, tensor in adapter.state_dict().items()}
    tensors = {}
    for published, name in PARAMETERS.items():
        tensor = state.parameters[published].detach()
        # The scales have no dimension there and one here. The shape first: a small file can describe a huge tensor.
        fits = (tuple(tensor.shape) or (1,)) == tuple(expected[name])
        if fits:
            tensors[name] = tensor.to(torch.float32, copy=True).reshape(expected[name]).contiguous()
        if not fits or not tensors[name].isfinite().all():
            raise CheckpointError(
                f"{published} of {path} has shape {list(tensor.shape)}, expected finite numbers of shape "
                f"{list(expected[name])}; use files of one checkpoint"
            )
    adapter.load_state_dict(tensors, assign=True)
    return adapter


def _backbone_folder(folder: Path, base: str) -> Path:
    if any(folder.glob(MODEL_FILES)):
        if base:
            raise InputError(f"{folder} has its own weights, trained with its adapter; leave base out")
        return folder
    if not base:
        pickled = (
            f"; {PICKLED_MODEL_FILE} is a pickle and is never read" if (folder / PICKLED_MODEL_FILE).exists() else ""
        )
        raise CheckpointError(
            f"{folder} has no {MODEL_FILES}{pickled}; expected the weights of the language model, save them as "
            "safetensors, or give the model that was trained from as base"
        )
    if Path(base).exists():
        return Path(base)
    with hub_errors(base):
        return Path(snapshot_download(base, allow_patterns=BASE_FILES))


def _saved_dtype(folder: Path) -> torch.dtype:
    """The dtype that holds every weight in ``folder`` exactly; float32 if there are none."""
    found = set()
    for path in sorted(folder.glob(MODEL_FILES)):
        try:
            with safe_open(path, framework="pt") as file:
                codes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged ({error}); copy it again") from error
        found |= {DTYPES[code] for code in codes & DTYPES.keys()}
    return functools.reduce(torch.promote_types, found) if found else torch.float32


def _check_base(model: Any, trained: Mapping[str, Any], base: str) -> None:
    for name in ("vocab_size", "hidden_size"):
        if getattr(model.config, name) != trained.get(name):
            raise CheckpointError(
                f"{base} has {name} {getattr(model.config, name)}, but the checkpoint was trained with "
                f"{trained.get(name)}; give a base of that size, with the embeddings of the added tokens"
            )


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        return load_tokenizer(str(folder))
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"cannot load the tokenizer in {folder}: {reason}; copy its files again") from error


def _check_sizes(model: Any, tokenizer: PreTrainedTokenizerBase, config: AdapterConfig) -> None:
    rows, size = model.get_input_embeddings().weight.shape
    if size != config.target_size:
        raise CheckpointError(
            f"the adapter writes rows of size {config.target_size}, but the language model reads {size}; "
            "use files of one checkpoint"
        )
    vocabulary = tokenizer.get_vocab()
    for token in (config.bop_token, config.eop_token):
        if token not in vocabulary:
            raise CheckpointError(
                f"the tokenizer lacks {token}, which goes beside a message; give the tokenizer that the training "
                "run saved, to which it added the token"
            )
        if vocabulary[token] >= rows:
            raise CheckpointError(
                f"{token} is token {vocabulary[token]}, but the language model has {rows} embeddings; "
                "use tokenizer and weights of one checkpoint"
            )


def _untie_if_apart(model: Any) -> bool:
    """Whether the head differs from embeddings that the configuration calls tied, which it then no longer does."""
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    apart: bool = model.config.tie_word_embeddings and not torch.equal(head, embeddings)
    if apart:
        model.config.tie_word_embeddings = False
    return apart


def _about_messages(config: AdapterConfig) -> Iterator[str]:
    size = config.source_size
    yield (
        f"state_at is not recorded: {config.state_at!r} is what you said (the published ALFWorld data are after_token, "
        "MATH before_token); layer -1 after the final norm is what the published code collects"
    )
    yield f"the sender is not recorded: messages of any sender with {size} numbers a row are accepted"
    yield f"an input projection is not saved: if the sender of the training had another size than {size}, it is lost"
    if config.max_rows is not None:
        yield (
            f"prepended_length {config.max_rows} is where training cut messages, which may have been shorter: "
            "longer ones are refused"
        )
    yield "training mixed 10 to 90 % of a message's rows with words of the plan: a whole message was never seen"
    yield (
        "the prompt is not recorded: system turn and connector are those of the published code, turns are written "
        "by the tokenizer's chat template and not by FastChat's, and the empty position behind <eop> is gone"
    )


def _about_adapter(state: _AdapterState, prepended: _Prepended, has_default_state: bool) -> Iterator[str]:
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in state.parameters.values()} - {"float32"}
    if dtypes:
        yield f"the adapter was saved as {', '.join(sorted(dtypes))}; its float32 numbers, if there were any, are lost"
    untouched = [
        name
        for name, value in INITIAL_VALUES.items()
        if bool((state.parameters[name] == torch.tensor(value, dtype=state.parameters[name].dtype)).all())
    ]
    if untouched:
        yield f"{', '.join(untouched)} of the adapter have the values that they begin with: training did not move them"
    for name, beside in state.scales.items():
        trained = state.parameters[f"adaptive_proj.{name}"].item()
        if abs(trained - beside) > 1e-6:
            yield (
                f"{name} is {trained:.6g} among the parameters and {beside:.6g} beside them: the parameter is "
                "imported, published evaluation overwrites it with the other"
            )
    if prepended.loss_weights:
        weights = " and ".join(f"{name} {value}" for name, value in prepended.loss_weights.items())
        yield f"{weights} are those of the last step, not the ones that were configured"
    if has_default_state or prepended.learnable:
        yield "the default state for a missing message is left out: the published code never reads it"
    yield "the dropout of the adapter is not recorded: it is off here, while published evaluation leaves it at 0.1"


def _about_model(
    tokenizer: PreTrainedTokenizerBase, config: AdapterConfig, dtype: torch.dtype, head_is_apart: bool, base: str
) -> Iterator[str]:
    vocabulary = tokenizer.get_vocab()
    added = [token for token in (config.bop_token, config.eop_token, MARKER_TOKEN) if token in vocabulary]
    rows = ", ".join(f"{vocabulary[token]} ({token})" for token in added)
    yield f"the embedding rows {rows} were added at random and may be hardly trained"
    if base:
        yield f"the language model is {base} itself: the one that was trained with the adapter is not in this folder"
    if dtype != torch.float32:
        name = str(dtype).removeprefix("torch.")
        yield f"the language model was saved as {name}; its float32 numbers, if there were any, are lost"
    if head_is_apart:
        yield (
            "the head differs from the embeddings although the configuration ties them: it is imported as it was "
            "trained, published evaluation ties them again and runs another model"
        )
