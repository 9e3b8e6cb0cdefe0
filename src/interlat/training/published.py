"""Importing actors in the format that the published Interlat code (arXiv 2511.09149) saves.

A folder of that code holds the language model in the Hugging Face layout, its tokenizer, the adapter as
``hidden_mha_state.pt``, and ``prepended_config.json``. Much that a receiver has to know is not in there; what is
missing or doubtful is returned in words, to be read by the person who imports.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import AdapterConfig
from interlat.engine.checkpoint import VOCABULARY_FILES, load_checkpoint, load_tokenizer
from interlat.errors import CheckpointError, InputError
from interlat.files import require_empty
from interlat.hub import hub_errors
from interlat.states import StateAt
from interlat.training.model import export_model
from interlat.training.published_adapter import INITIAL_VALUES, AdapterState, make_adapter, read_adapter_state

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

# Names of safetensors for the formats that weights come in.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


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
    size, length = prepended["hidden_size"], prepended.get("prepended_length")
    state = read_adapter_state(folder / ADAPTER_STATE_FILE)
    config = AdapterConfig(
        source_size=size,
        target_size=size,
        heads=prepended["mha_num_heads"],
        state_at=state_at,
        # Training cut messages to this many first rows.
        max_rows=length if type(length) is int and length > 0 else None,
    )
    adapter = make_adapter(config, state, folder / ADAPTER_STATE_FILE)
    backbone = _backbone_folder(folder, base)
    dtype = _saved_dtype(backbone)
    model: Any
    model, tokenizer = load_checkpoint(str(backbone), dtype, "cpu", False)
    if backbone != folder:
        _check_base(model, _read_json(folder / CONFIG_FILE), base)
        if any((folder / name).is_file() for name in VOCABULARY_FILES):
            tokenizer = _read_tokenizer(folder)
    _check_sizes(model, tokenizer, config)
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    head_is_apart = model.config.tie_word_embeddings and not torch.equal(head, embeddings)
    if head_is_apart:
        model.config.tie_word_embeddings = False
    settings = AgentSettings(role="actor", system_prompt=SYSTEM_PROMPT, connector=CONNECTOR, message_kind="hidden")
    export_model(model, tokenizer, target, settings=settings, beside=[adapter], dtype=dtype)
    has_default = (folder / DEFAULT_STATE_FILE).exists() or bool(prepended.get("prepended_learnable"))
    return [
        *_about_messages(config),
        *_about_adapter(state, prepended, has_default),
        *_about_model(tokenizer, config, dtype, head_is_apart, base),
    ]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, expected a folder that the published training code wrote")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no JSON object ({error}); copy it again") from error


def _read_prepended(path: Path) -> dict[str, Any]:
    fields = _read_json(path)
    size, heads = (fields.get(name) for name in ("hidden_size", "mha_num_heads"))
    if type(size) is not int or type(heads) is not int or size < 1 or heads < 1 or size % heads:
        raise CheckpointError(
            f"{path} says hidden_size {size!r} and mha_num_heads {heads!r}, expected two numbers of which the second "
            "divides the first; correct them"
        )
    return fields


def _backbone_folder(folder: Path, base: str) -> Path:
    has_weights = any(folder.glob(MODEL_FILES))
    if has_weights and base:
        raise InputError(f"{folder} has its own weights, trained with its adapter; leave base out")
    if not has_weights and not base:
        pickled = f"; {PICKLED_MODEL_FILE} is a pickle, never read" if (folder / PICKLED_MODEL_FILE).exists() else ""
        raise CheckpointError(
            f"{folder} has no {MODEL_FILES}{pickled}; expected the weights of the language model, save them as "
            "safetensors, or give the model that was trained from as base"
        )
    if has_weights or Path(base).exists():
        return folder if has_weights else Path(base)
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
        if vocabulary.get(token, rows) >= rows:
            fault = f"{token} is token {vocabulary.get(token)}, but the language model has {rows} embeddings"
            if token not in vocabulary:
                fault = f"the tokenizer lacks {token}, which goes beside a message"
            raise CheckpointError(f"{fault}; give tokenizer and weights that the training run saved")


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


def _about_adapter(state: AdapterState, prepended: Mapping[str, Any], has_default_state: bool) -> Iterator[str]:
    dtypes = sorted({_name_of(tensor.dtype) for tensor in state.parameters.values()} - {"float32"})
    if dtypes:
        yield f"the adapter was saved as {', '.join(dtypes)}; its float32 numbers, if there were any, are lost"
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
    names = [name for name in ("plan_similarity_weight", "random_contrast_weight") if name in prepended]
    if names:
        weights = " and ".join(f"{name} {prepended[name]}" for name in names)
        yield f"{weights} are those of the last step, not the ones that were configured"
    if has_default_state:
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
        yield f"the language model was saved as {_name_of(dtype)}; its float32 numbers, if there were any, are lost"
    if head_is_apart:
        yield (
            "the head differs from the embeddings although the configuration ties them: it is imported as it was "
            "trained, published evaluation ties them again and runs another model"
        )


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
