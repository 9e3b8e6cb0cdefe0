"""Agents on the hub: a model in the Hugging Face layout with what interlat keeps beside it."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from interlat.agents.settings import SETTINGS_FILE, AgentSettings
from interlat.catalogue import MODELS
from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.checkpoint import has_vocabulary, load_model_config
from interlat.engine.peft_adapter import WEIGHTS, read_added_tokens
from interlat.errors import CheckpointError
from interlat.places import ADAPTER_CONFIG, adapter_base, gguf_file
from interlat.sharing.connectors import CONNECTOR_MODULES, facts_of_modules, modules_in
from interlat.sharing.kinds import CONFIG_FILE, Description
from interlat.training.card import READS, USES

MODEL_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


def check(folder: Path) -> None:
    """See that nothing is missing and that every header can be read; the weights themselves are not loaded.

    Raises:
        CheckpointError: says what is missing or damaged.
    """
    settings = AgentSettings.beside(folder)
    connectors = dict(modules_in(folder))
    if (folder / ADAPTER_CONFIG).is_file():
        _check_peft_adapter(folder)
    elif gguf_file(str(folder)) is None:
        _check_weights(folder)
        _check_sizes(folder, connectors)
    if settings.message_kind == "hidden" and "adapter" not in connectors:
        raise CheckpointError(
            f"{folder} was trained to read hidden messages (message_kind in {SETTINGS_FILE}), but "
            f"{CommunicationAdapter.FILE} is missing; copy it from the training"
        )


def describe(folder: Path, repository: str) -> Description:
    """See `Handling.describe`."""
    settings, connectors = AgentSettings.beside(folder), dict(modules_in(folder))
    base = adapter_base(folder) if (folder / ADAPTER_CONFIG).is_file() else ""
    sentences = [f"An agent in the role of {settings.role}, for the Python package `interlat`."]
    sentences += [READS[settings.message_kind]]
    sentences += [f"Its own weights are an adapter on `{base}`."] if base else []
    beside = ", ".join(module.KIND for module in connectors.values())
    sentences += [f"Beside the model: {beside}."] if beside else []
    return Description(
        " ".join(sentences),
        f'import interlat\n\nagent = interlat.load("{repository}")\n{USES[settings.message_kind]}',
        tuple(dict.fromkeys(("agent", settings.role, *connectors))),
        {**_facts_of_config(folder), **facts_of_modules(connectors)},
        # The hub knows no names of `interlat models list`.
        base_model=base if base not in MODELS else "",
    )


def use(folder: Path) -> str:
    """See `Handling.use`."""
    return f'interlat.load("{folder}"), or --sender {folder} and --receiver {folder} of `interlat evaluate`'


def _check_peft_adapter(folder: Path) -> None:
    base = adapter_base(folder)
    if Path(base).expanduser().exists() or base.startswith(("/", ".", "~")):
        raise CheckpointError(
            f"base_model_name_or_path in {folder / ADAPTER_CONFIG} is {base!r}, a place on this machine; write a hub "
            "id or a name of `interlat models list` there, so that others find the base model"
        )
    _tensors(folder / WEIGHTS)
    read_added_tokens(folder)


def _check_weights(folder: Path) -> None:
    config = _object(folder / CONFIG_FILE)
    code = [name for name in (config.get("auto_map") or {}).values() if "--" not in str(name)]
    if code:
        raise CheckpointError(
            f"auto_map in {folder / CONFIG_FILE} names code beside the model ({code[0]}), and code is not shared; give "
            "a model of an architecture that transformers has"
        )
    if not has_vocabulary(folder):
        raise CheckpointError(f"{folder} has no tokenizer files; save the tokenizer beside the model (save_pretrained)")
    if not (folder / INDEX_FILE).is_file():
        _tensors(folder / MODEL_FILE)
        return
    places = _object(folder / INDEX_FILE).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{folder / INDEX_FILE} has no weight_map; save the whole model again")
    for name in sorted(set(places.values())):
        missing = {tensor for tensor, file in places.items() if file == name} - _tensors(folder / str(name))
        if missing:
            raise CheckpointError(
                f"{folder / str(name)} lacks {len(missing)} tensors that {INDEX_FILE} names, such as {min(missing)}; "
                "save the whole model again"
            )


def _check_sizes(folder: Path, connectors: dict[str, Any]) -> None:
    """What is beside a model has to fit its hidden size."""
    size = load_model_config(str(folder)).hidden_size
    for name, module in connectors.items():
        target = getattr(module, "target_size", size)
        if target != size:
            raise CheckpointError(
                f"{folder / CONNECTOR_MODULES[name].FILE} is for a model of size {target}, but {CONFIG_FILE} says "
                f"{size}; copy the one that was trained with this model"
            )


def _tensors(path: Path) -> set[str]:
    """The names of the tensors in a file, whose length its header confirms."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; save the whole model again (save_pretrained)")
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); save it again or copy it again") from error


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); save it again or copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object; save it again or copy it again")
    return content


def _facts_of_config(folder: Path) -> dict[str, str]:
    """What ``config.json`` says, as far as it says it."""
    if not (folder / CONFIG_FILE).is_file():
        return {}
    config = _object(folder / CONFIG_FILE)
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "dtype")
    return {name.replace("_", " "): str(config[name]) for name in names if config.get(name) is not None}
