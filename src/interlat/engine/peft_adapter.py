"""PEFT adapters: a folder with ``adapter_config.json`` on its base model, merged into one model as any other."""

import hashlib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.peft_utils import find_adapter_config_file

from interlat.errors import CheckpointError
from interlat.files import file_digest
from interlat.places import ADAPTER_CONFIG

WEIGHTS = "adapter_model.safetensors"
ADDED_TOKENS = "added_tokens.json"
_ELSEWHERE = frozenset({"base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version"})
"""Fields of the configuration that say nothing about what the adapter does."""


def adapter_folder(place: str) -> Path | None:
    """The folder of a PEFT adapter, fetched from the hub where ``place`` is a hub id; None for all else.

    Raises:
        OSError: as the hub does.
    """
    path = Path(place)
    if path.exists():
        return path if (path / ADAPTER_CONFIG).is_file() else None
    if find_adapter_config_file(place) is None:
        return None
    return Path(snapshot_download(place, allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]))


def merge_adapter(base: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The base model with the adapter merged into its weights, as `peft` merges it; ``base`` is changed in place.

    An adapter with embeddings of its own, for tokens that its training added, makes the base's as many first: all of
    them (``save_embedding_layers``), or the new rows alone (``trainable_token_indices``).

    Raises:
        CheckpointError: `peft` is missing, or the tokenizer has more tokens than there are embeddings.
        Exception: as `peft` does where adapter and base do not fit each other.
    """
    require_peft(folder)
    from peft import PeftModel

    make_room(base, folder, tokenizer)
    wrapped: Any = PeftModel.from_pretrained(base, str(folder))
    merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
    # Left behind by peft; with it transformers would save an adapter again.
    vars(merged).pop("peft_config", None)
    merged._hf_peft_config_loaded = False
    return merged


def make_room(base: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the embeddings of the base as many as the adapter has, or needs for its rows.

    Raises:
        CheckpointError: the tokenizer has more tokens than there are embeddings.
    """
    table: Any = base.get_input_embeddings()
    embeddings = table.weight.shape[0]
    rows = _embeddings_in(folder) or max([embeddings, *(row + 1 for row in new_rows(folder))])
    if rows != embeddings:
        base.resize_token_embeddings(rows, mean_resizing=False)
    elif len(tokenizer) > embeddings:
        raise CheckpointError(
            f"the tokenizer of {folder} has {len(tokenizer)} tokens, but the base model has {embeddings} embeddings; "
            "save the adapter with its embeddings (save_embedding_layers)"
        )


def new_rows(folder: Path) -> list[int]:
    """The tokens whose rows alone the adapter brings (``trainable_token_indices``)."""
    named = adapter_settings(folder).get("trainable_token_indices") or {}
    lists = named.values() if isinstance(named, dict) else [named]
    return sorted({int(row) for rows in lists for row in rows})


def read_added_tokens(folder: Path) -> dict[str, int]:
    """The special tokens, with their ids, that an adapter without a vocabulary adds to the one of its base model.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = folder / ADDED_TOKENS
    if not file.is_file():
        return {}
    try:
        return {str(token): int(row) for token, row in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); copy it again") from error


def with_added_tokens(tokenizer: PreTrainedTokenizerBase, added: Mapping[str, int]) -> PreTrainedTokenizerBase:
    """The tokenizer with special tokens more, changed in place.

    Raises:
        CheckpointError: it gives them other ids than those in ``added``.
    """
    tokens = [AddedToken(token, normalized=False, special=True) for token in sorted(added, key=added.__getitem__)]
    if tokens:
        tokenizer.add_tokens(tokens, special_tokens=True)
    vocabulary = tokenizer.get_vocab()
    for token, row in added.items():
        if vocabulary[token] != row:
            raise CheckpointError(
                f"the token {token} of the adapter is {row}, but {vocabulary[token]} in its base model's tokenizer; "
                "give the base that the adapter was trained on"
            )
    return tokenizer


def adapter_settings(folder: Path) -> dict[str, Any]:
    """What ``adapter_config.json`` says, as it stands there."""
    return dict(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")))


def require_peft(folder: Path) -> None:
    """Raise CheckpointError, with the command that helps, where `peft` is missing."""
    if find_spec("peft") is None:
        raise CheckpointError(f"{folder} is a PEFT adapter and needs the package peft; run: pip install peft")


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over the adapter's weights and what its configuration says about them; not about the base's place.

    Raises:
        CheckpointError: there are no weights.
    """
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}; save the adapter again, in safetensors")
    rules = {name: value for name, value in adapter_settings(folder).items() if name not in _ELSEWHERE}
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    digest.update(file_digest(folder / WEIGHTS).encode())
    return digest.hexdigest()


def _embeddings_in(folder: Path) -> int:
    """Rows of the input embeddings that an adapter brings along; 0 if it brings none."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            names = [name for name in file.keys() if name.endswith("embed_tokens.weight")]  # noqa: SIM118
            return int(file.get_slice(names[0]).get_shape()[0]) if names else 0
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS} is damaged ({error}); copy it again") from error
