"""Rotary positions whose factors depend on the length of a sequence: its own, not the length of its neighbours."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from interlat.errors import CheckpointError, InputError


def original_length(model: nn.Module) -> int | None:
    """The length up to which a model takes the short factors of LongRoPE (arXiv 2402.13753); longer sequences take
    the long ones.

    None where the factors do not depend on the length, also because both lists of factors are the same.

    Raises:
        CheckpointError: layers have different such lengths.
    """
    lengths = {
        int(rope["original_max_position_embeddings"])
        for module in _rotary_modules(model, "longrope")
        for rope in _parameters(module, "longrope")
        if rope["short_factor"] != rope["long_factor"] or rope.get("short_mscale") != rope.get("long_mscale")
    }
    if len(lengths) > 1:
        raise CheckpointError(
            f"the layers change their rotary factors after different lengths {sorted(lengths)}; that is not supported"
        )
    return lengths.pop() if lengths else None


def read_rows_apart(model: nn.Module) -> None:
    """Let the rotary modules of ``model`` choose the factors of LongRoPE by each sequence alone; others stay as is.

    The modules of transformers choose by the longest sequence of a batch. For sequences of one kind nothing changes.
    """
    if original_length(model) is not None:
        for module in _rotary_modules(model, "longrope"):
            if not isinstance(module, _RowsApart):
                module.__class__ = _apart(module.__class__)


def check_not_crossing(
    length: int | None, mask: Bool[Tensor, "B T"], positions: Int[Tensor, "B T"], start: int
) -> None:
    """Check that no sequence that was read with short factors goes on past the original length.

    Args:
        length: see `original_length`.
        mask: True where a position holds something.
        positions: of all positions.
        start: the first position that is still to be read.

    Raises:
        InputError: a sequence does; its first positions would have other factors than the last ones.
    """
    if length is None or not start:
        return
    ends = (positions + 1) * mask
    before, after = ends[:, :start].amax(dim=1), ends[:, start:].amax(dim=1)
    if bool(((before > 0) & (before <= length) & (after > length)).any()):
        raise InputError(crossing(length))


def mixes_factors(length: int | None, ends: Sequence[int]) -> bool:
    """Whether some of these sequences were read with short factors and some with long ones, by where they end."""
    return length is not None and len({end > length for end in ends if end}) > 1


def crossing(length: int) -> str:
    """Why a sequence cannot go on."""
    return (
        f"a sequence that began with the short factors of LongRoPE ends after {length} positions: read all of it at "
        "once, or give short_factor the values of long_factor in config.json"
    )


def positions_of_rows(model: Any, real: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
    """What lets a model read sequences padded on the right each by its own length; empty where the length is no matter.

    Raises:
        InputError: a sequence is longer than the factors of a "dynamic" scaling are the same for all sequences.
    """
    width = real.shape[1]
    for module in _rotary_modules(model, "dynamic"):
        limit = module.config.max_position_embeddings
        if width > limit:
            raise InputError(
                f"a sequence takes {width} positions; from {limit} on dynamic rotary factors depend on the longest "
                "one of a batch: shorten it"
            )
    if original_length(model) is None:
        return {}
    return {"position_ids": (real.long().cumsum(dim=1) - 1).clamp_min(0)}


def _rotary_modules(model: nn.Module, kind: str) -> list[Any]:
    return [module for module in model.modules() if any(True for _ in _parameters(module, kind))]


def _parameters(module: Any, kind: str) -> Iterator[dict[str, Any]]:
    """The rotary parameters of that kind which a module goes by: of all layers, or of each type of layer."""
    kinds = getattr(module, "rope_type", None)
    if isinstance(kinds, str) and kind in kinds:
        yield module.config.rope_parameters
    elif isinstance(kinds, dict):
        for layers, name in kinds.items():
            if kind in name:
                yield module.config.rope_parameters[layers]


class _RowsApart:
    """A rotary module that is called once for the sequences of each kind."""

    def forward(self: Any, x: Tensor, position_ids: Tensor, *rest: Any, **named: Any) -> Any:
        read: Any = super().forward  # type: ignore[misc]
        length = original_length(self)
        if length is None or position_ids.ndim != 2 or len(position_ids) == 1:
            return read(x, position_ids, *rest, **named)
        long = position_ids.amax(dim=1) >= length
        if bool(long.all()) or not bool(long.any()):
            return read(x, position_ids, *rest, **named)
        parts = [read(x, position_ids[rows], *rest, **named) for rows in (long, ~long)]
        order = torch.cat([long.nonzero()[:, 0], (~long).nonzero()[:, 0]]).argsort()
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)[order]
        return tuple(torch.cat(pair)[order] for pair in zip(*parts, strict=True))


@functools.cache
def _apart(kind: type) -> type:
    return type(kind.__name__, (_RowsApart, kind), {})
