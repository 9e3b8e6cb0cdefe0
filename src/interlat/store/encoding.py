"""Number formats of stored rows: as they are, or small integers or floats with one scale a row."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.errors import InputError, MessageError
from interlat.store.manifest import Encoding

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
STORED_AS: dict[str, torch.dtype] = {"int8": torch.int8, "float8": torch.float8_e4m3fn}
LARGEST = {"int8": 127.0, "float8": 448.0}


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows as they are in a shard."""

    rows: Tensor
    """``[T, *row_shape]`` in the stored dtype."""
    scales: Float[Tensor, "T"] | None
    """What each row is multiplied by when it is read; None for plain rows."""
    error: float
    """Relative error ``|x - decoded(x)| / |x|`` (Frobenius norms) of the whole item; 0 for plain rows."""

    @property
    def nbytes(self) -> int:
        """Bytes of rows and scales."""
        return self.rows.nbytes + (0 if self.scales is None else self.scales.nbytes)


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of a name.

    Raises:
        InputError: no floating-point format of that name.
    """
    if name not in DTYPES:
        raise InputError(f"dtype is {name!r}; use {', '.join(DTYPES)}")
    return DTYPES[name]


def stored_dtype(dtype: str, encoding: Encoding) -> torch.dtype:
    """The dtype that rows have in a shard."""
    return dtype_of(dtype) if encoding == "plain" else STORED_AS[encoding]


def encode(rows: Float[Tensor, "T *row_shape"], dtype: str, encoding: Encoding) -> Encoded:
    """Rows in the number format of a store.

    A scaled row is ``q = x / s`` with ``s = max|x| / largest`` (127 for int8, 448 for float8 e4m3), int8 rounded to the
    nearest integer; several layers of a row share the scale.

    Args:
        dtype: name of the states' own format, to which they are rounded first.

    Raises:
        MessageError: a value is too large for ``dtype``.
    """
    target = dtype_of(dtype)
    if rows.numel() and torch.finfo(rows.dtype).max > torch.finfo(target).max:
        largest = float(rows.detach().abs().amax())
        if largest > torch.finfo(target).max:
            raise MessageError(f"the value {largest:.3g} is too large for {dtype}; store it in a wider format")
    rows = rows.detach().cpu().to(target).contiguous()
    if encoding == "plain":
        return Encoded(rows, None, 0.0)
    wide = rows.float()
    flat = wide.reshape(len(wide), -1)
    scales = flat.abs().amax(dim=1) / LARGEST[encoding]
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    scaled = flat / scales[:, None]
    small = (scaled.round() if encoding == "int8" else scaled).to(STORED_AS[encoding]).reshape(rows.shape)
    size = flat.norm()
    lost = (decode(small, scales, "float32").reshape(len(wide), -1) - flat).norm()
    return Encoded(small, scales, float(lost / size) if size > 0 else 0.0)


def decode(rows: Tensor, scales: Float[Tensor, "T"] | None, dtype: str) -> Float[Tensor, "T *row_shape"]:
    """Stored rows in the format of the states; a copy, so that writing into it changes no store."""
    if scales is None:
        return rows.clone()
    wide = rows.float() * scales.reshape(-1, *[1] * (rows.ndim - 1))
    return wide.to(dtype_of(dtype))
