"""The adapter of a published checkpoint: the file ``hidden_mha_state.pt`` that `torch.save` wrote."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.errors import CheckpointError

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
    name: 0.2 if name == "adaptive_proj.scale" else 0.1 if name.endswith("_scale") else float(name.endswith("weight"))
    for name, ours in PARAMETERS.items()
    if ours.endswith(("bias", "scale")) or "norm" in ours
}
GET_WEIGHTS = "get the weights as torch.save writes them, or as a safetensors file"


@dataclass(frozen=True)
class AdapterState:
    """What ``hidden_mha_state.pt`` holds."""

    parameters: Mapping[str, Tensor]
    """By published name, as stored."""
    scales: Mapping[str, float]
    """The numbers beside them."""


def read_adapter_state(path: Path) -> AdapterState:
    """The state in ``hidden_mha_state.pt``.

    Raises:
        CheckpointError: as `read_weights`, or it is not the state of a published adapter.
    """
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
    return AdapterState(parameters, scales)


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


def make_adapter(config: AdapterConfig, state: AdapterState, path: Path) -> CommunicationAdapter:
    """The adapter with the parameters of a published one, float32.

    Raises:
        CheckpointError: a parameter has another shape than ``config`` says, or is not finite; ``path`` is named.
    """
    stored = list(state.parameters["pre_ln.weight"].shape)
    if stored != [config.target_size]:
        raise CheckpointError(
            f"{path} holds an adapter of size {stored}, but prepended_config.json says hidden_size "
            f"{config.target_size}; "
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
