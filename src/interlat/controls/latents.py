"""Controls on hidden messages: they remove information, to show whether a gain comes from a message's content.

A control takes a hidden message ``[K, D]`` and returns one that keeps some property (length, scale, moments) and
destroys another (content, item, order). `control_message` applies one by name. ``"gaussian"`` takes no value,
``"first_rows:4"`` takes the value after the colon.

Notation: H ``[K, D]`` is the message, μ its mean latent, X = H - μ, Σ = XᵀX / (K - 1) its covariance. The random
numbers of a message depend on the run seed, its item id and the control, never on its batch, the device or the other
messages. Controls compute in float64 on the CPU. The result has the message's device and dtype.

Source of the noise variants: Interlat (arXiv 2511.09149), table 1. Where its released code was not exact
(`random_rotation`) or used an absolute scale (`white_noise`), the docstring says what is done here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from interlat.controls.cross_task import CROSS_TASK
from interlat.engine.sampling import row_seed
from interlat.errors import InputError, MessageError
from interlat.store.encoding import decode, encode

INT8 = "int8"
Operation = Callable[[Float[Tensor, "K D"], Generator, float], Float[Tensor, "rows D"]]
Selection = Callable[[int, Generator, float], Int[Tensor, " rows"]]


@dataclass(frozen=True)
class Control:
    """A named operation on one message."""

    name: str
    """Name that the user writes, without the value."""
    operation: Operation
    """``(message float64 [K, D], generator, value) -> float64 [rows, D]``."""
    default: float | None = None
    """Default value. None for a control that takes no value."""
    rows_needed: int = 2
    """Smallest K for which the operation is meaningful."""
    whole_value: bool = False
    """Whether the value has to be a whole number."""
    largest: float = math.inf
    """Largest value allowed."""
    shortens: bool = False
    """It keeps part of the message's content in fewer bytes. It is a baseline to compare with, and no evidence that the
    message matters."""
    kept: Selection | None = None
    """For a control that only selects latents, those that stay: ``(K, generator, value) -> ascending indices``."""


_REGISTRY: dict[str, Control] = {}


def _register(name: str, **limits: Any) -> Callable[[Operation], Operation]:
    def add(operation: Operation) -> Operation:
        _REGISTRY[name] = Control(name, operation, **limits)
        return operation

    return add


def _register_selection(name: str, **limits: Any) -> Callable[[Selection], Selection]:
    def add(selection: Selection) -> Selection:
        def select(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "rows D"]:
            return message[selection(message.shape[0], generator, value)]

        _REGISTRY[name] = Control(name, select, rows_needed=1, shortens=True, kept=selection, **limits)
        return selection

    return add


def control_names() -> tuple[str, ...]:
    """The names of all controls, `CROSS_TASK` first."""
    return (CROSS_TASK, *_REGISTRY)


def base_of(name: str) -> str:
    """A control without its value, as it is registered: ``first_rows`` of ``first-rows:4``."""
    return name.partition(":")[0].replace("-", "_")


def is_control(name: str) -> bool:
    """Whether ``name`` (with or without ``:value``; ``-`` counts as ``_``) is a control of this module."""
    return base_of(name) in control_names()


def shortens(name: str) -> bool:
    """Whether ``name`` is a control that shortens the message, see `Control`."""
    control = _REGISTRY.get(base_of(name))
    return control is not None and control.shortens


def parse_control(name: str) -> tuple[Control, float]:
    """The control and the value behind ``"name"`` or ``"name:value"``.

    Raises:
        InputError: the name is unknown, or the value is missing, not allowed or out of range.
    """
    base, colon, written = name.partition(":")
    control = _REGISTRY.get(base.replace("-", "_"))
    if control is None:
        raise InputError(f"there is no control {base!r} on one message; choose from {', '.join(_REGISTRY)}")
    if control.default is None:
        if colon:
            raise InputError(f"the control {base!r} takes no value, got {written!r}; write only {base!r}")
        return control, 0.0
    if not colon:
        return control, control.default
    wanted = "a whole number" if control.whole_value else "a number"
    limits = f"above 0 and at most {control.largest:g}" if math.isfinite(control.largest) else "above 0"
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= control.largest or math.isinf(value) or (control.whole_value and value % 1):
        raise InputError(f"the control {base!r} needs {wanted} {limits}, got {written!r}")
    return control, value


def control_message(name: str, message: Float[Tensor, "K D"], item: str, *, run_seed: int) -> Float[Tensor, "rows D"]:
    """One message under the control ``name``.

    Args:
        name: ``"name"`` or ``"name:value"``, anything in `control_names` but `CROSS_TASK`.
        message: hidden states of any floating dtype on any device. They are not changed.
        item: id of the item that the message belongs to.
        run_seed: seed of the run.

    Returns:
        A new tensor of the dtype and device of ``message``: K latents, or fewer (`first_rows`, `keep_rows`).

    Raises:
        InputError: the control or its value is unknown, or the message has fewer latents than the control needs.
        MessageError: the message is empty or not finite.
    """
    control, value = parse_control(name)
    if message.ndim != 2 or 0 in message.shape:
        raise MessageError(
            f"the message of {item!r} has shape {list(message.shape)}; expected [rows, hidden size], not empty"
        )
    if not message.isfinite().all():
        raise MessageError(f"the message of {item!r} holds NaN or infinity; make the message again")
    if message.shape[0] < control.rows_needed:
        raise InputError(
            f"the control {control.name!r} needs at least {control.rows_needed} rows and the message of "
            f"{item!r} has {message.shape[0]}: use 'zeros' or 'cross_task' for such messages"
        )
    generator = Generator().manual_seed(row_seed(run_seed, item, control.name))
    exact = message.detach().to(device="cpu", dtype=torch.float64)
    return control.operation(exact, generator, value).to(device=message.device, dtype=message.dtype).clone()


def _normal(generator: Generator, *shape: int) -> Float[Tensor, "..."]:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _covariance_shaped(message: Float[Tensor, "K D"], generator: Generator) -> Float[Tensor, "K D"]:
    """K rows iid N(0, Σ), as Z X / √(K - 1) with Z ``[K, K]`` iid N(0, 1): no D x D matrix is needed."""
    rows = message.shape[0]
    return _normal(generator, rows, rows) @ (message - message.mean(0)) / math.sqrt(rows - 1)


@_register("zeros", rows_needed=1)
def zeros(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """All zeros, of the same length: H' = 0. Only the number of latents is left."""
    return torch.zeros_like(message)


@_register("gaussian")
def gaussian(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """Latents iid N(μ, diag Σ): the message's own mean and variance in each dimension, and nothing else of it.

    E[mean] = μ and E[sample variance] = diag Σ exactly. A single draw scatters around both. The moments are those of
    the item's own message, so the information in its mean latent stays. ``covariance_gaussian_centred`` and
    ``cross_task`` remove that too.
    """
    return message.mean(0) + _normal(generator, *message.shape) * message.std(0)


@_register("covariance_gaussian")
def covariance_gaussian(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """Latents iid N(μ, Σ) (CovGauss-μ): H' = μ + Z X / √(K - 1). Mean and covariance match in expectation."""
    return message.mean(0) + _covariance_shaped(message, generator)


@_register("covariance_gaussian_centred")
def covariance_gaussian_centred(
    message: Float[Tensor, "K D"], generator: Generator, value: float
) -> Float[Tensor, "K D"]:
    """Latents iid N(0, Σ) (CovGauss-0μ): H' = Z X / √(K - 1). The covariance matches in expectation."""
    return _covariance_shaped(message, generator)


@_register("covariance_noise", default=1.0)
def covariance_noise(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """Add noise with the message's own covariance (CovNoise): H' = H + strength · Z X / √(K - 1)."""
    return message + value * _covariance_shaped(message, generator)


@_register("white_noise", default=1.0)
def white_noise(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """Add noise of the same power in every direction: H' = H + strength · s · ε with ε iid N(0, 1), s² = tr Σ / D.

    Its expected power is that of ``covariance_noise`` with the same strength. Interlat's ``noised`` has no s, which
    here is ``white_noise_absolute``.
    """
    return message + value * message.var(0).mean().sqrt() * _normal(generator, *message.shape)


@_register("white_noise_absolute", default=0.5, rows_needed=1)
def white_noise_absolute(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """H' = H + strength · ε, ε iid N(0, 1), in the units of the states (Interlat's ``noised``: 0.5)."""
    return message + value * _normal(generator, *message.shape)


@_register("random_rotation")
def random_rotation(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """Same mean, same covariance, other latents (RandomRot): H' = μ + U Q S Vᵀ where X = U S Vᵀ.

    Q is r x r orthogonal, Haar distributed (QR of a Gaussian matrix, columns multiplied by the signs of
    diag R; reflections are as likely as rotations). r is the rank of X, at most K - 1: a null direction of X
    has a left singular vector with a mean, and rotating that in (as the released code does) shifts mean and
    covariance. Without it 1ᵀU = 0 and UᵀU = I, so both are kept to floating-point accuracy for every Q.
    """
    mean = message.mean(0)
    left, singular, right = torch.linalg.svd(message - mean, full_matrices=False)
    tolerance = singular[0] * max(message.shape) * torch.finfo(torch.float64).eps
    rank = min(int((singular > tolerance).sum()), message.shape[0] - 1)
    orthogonal, upper = torch.linalg.qr(_normal(generator, rank, rank))
    orthogonal = orthogonal * upper.diagonal().sign()
    return mean + left[:, :rank] @ orthogonal @ (singular[:rank, None] * right[:rank])


@_register("shuffled_rows")
def shuffled_rows(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """The same latents in another order, drawn uniformly from all orders except the true one."""
    rows = message.shape[0]
    order = torch.arange(rows)
    while torch.equal(order, torch.arange(rows)):
        order = torch.randperm(rows, generator=generator)
    return message[order]


@_register_selection("first_rows", default=1, whole_value=True)
def first_rows(rows: int, generator: Generator, value: float) -> Int[Tensor, " rows"]:
    """The first ``value`` latents. A message that is not longer stays whole."""
    return torch.arange(min(rows, int(value)))


@_register_selection("last_rows", default=1, whole_value=True)
def last_rows(rows: int, generator: Generator, value: float) -> Int[Tensor, " rows"]:
    """The last ``value`` latents. A message that is not longer stays whole."""
    return torch.arange(max(0, rows - int(value)), rows)


@_register_selection("spaced_rows", default=1, whole_value=True)
def spaced_rows(rows: int, generator: Generator, value: float) -> Int[Tensor, " rows"]:
    """``value`` latents at even distances, each in the middle of its segment. A message that is not longer stays whole.

    Their indices are ``floor((k + 1/2) K / value)`` for k = 0 ... value - 1.
    """
    wanted = int(value)
    if rows <= wanted:
        return torch.arange(rows)
    return (2 * torch.arange(wanted) + 1) * rows // (2 * wanted)


@_register_selection("keep_first", default=0.5, largest=1.0)
def keep_first(rows: int, generator: Generator, value: float) -> Int[Tensor, " rows"]:
    """The first ⌈fraction · K⌉ of the latents (Interlat's keep ratio)."""
    return torch.arange(_share(rows, value))


@_register_selection("keep_last", default=0.5, largest=1.0)
def keep_last(rows: int, generator: Generator, value: float) -> Int[Tensor, " rows"]:
    """The last ⌈fraction · K⌉ of the latents."""
    return torch.arange(rows - _share(rows, value), rows)


@_register_selection("keep_rows", default=0.5, largest=1.0)
def keep_rows(rows: int, generator: Generator, value: float) -> Int[Tensor, " rows"]:
    """A random ⌈fraction · K⌉ of the latents, in their true order."""
    return torch.randperm(rows, generator=generator)[: _share(rows, value)].sort().values


def _share(rows: int, fraction: float) -> int:
    """At least one row."""
    # The small constant undoes 0.1 * 30 = 3.0000000000000004 and its like, which would keep a row too many.
    return max(1, math.ceil(fraction * rows - 1e-9))


@_register("pooled_rows", default=1, rows_needed=1, whole_value=True, shortens=True)
def pooled_rows(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "rows D"]:
    """The means of ``value`` segments whose lengths differ by at most one. A message that is not longer stays whole."""
    rows, wanted = message.shape[0], int(value)
    if rows <= wanted:
        return message
    bounds = [k * rows // wanted for k in range(wanted + 1)]
    return torch.stack([message[start:end].mean(dim=0) for start, end in pairwise(bounds)])


@_register(INT8, rows_needed=1, shortens=True)
def int8(message: Float[Tensor, "K D"], generator: Generator, value: float) -> Float[Tensor, "K D"]:
    """All latents, each rounded to 255 whole multiples of its largest magnitude / 127: half the bytes of bfloat16."""
    encoded = encode(message, "float64", "int8")
    return decode(encoded.rows, encoded.scales, "float64")
