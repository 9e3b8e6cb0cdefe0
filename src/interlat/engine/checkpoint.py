"""Loading a model and its tokenizer: all of it, from safetensors, or a clear error."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine.hardware import choose_device, choose_dtype
from interlat.errors import CheckpointError


def load_checkpoint(
    path_or_hub_id: str, dtype: str | torch.dtype, device: str | torch.device, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (in evaluation mode, on its device) and tokenizer of a directory or hub id; see `Engine.load`.

    Raises:
        CheckpointError: no such place, no model or tokenizer in it, damaged files, or weights that are missing.
    """
    place = Path(path_or_hub_id)
    if place.is_dir() and not (place / "config.json").is_file():
        raise CheckpointError(f"{place} has no config.json; expected a directory written by save_pretrained")
    if place.is_file():
        raise CheckpointError(f"{place} is a file; expected a directory written by save_pretrained, or a hub id")
    chosen_device = choose_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path_or_hub_id), trust_remote_code=trust_remote_code)
        model, report = AutoModelForCausalLM.from_pretrained(
            str(path_or_hub_id),
            dtype=choose_dtype(dtype, chosen_device),
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot load a model from {path_or_hub_id}: {reason}; expected a directory written by save_pretrained "
            "(config.json, *.safetensors, tokenizer files) or a hub id that can be reached"
        ) from error
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(key) for key in report["mismatched_keys"])
    if missing or mismatched:
        shown = ", ".join([*missing, *mismatched][:3])
        raise CheckpointError(
            f"{path_or_hub_id} lacks {len(missing) + len(mismatched)} weights that its config asks for ({shown}); "
            "save the whole model again"
        )
    return model.to(chosen_device).eval(), tokenizer
