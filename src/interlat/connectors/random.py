"""A map that means nothing: the control of an alignment."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interlat.connectors.identity import NormMatchedIdentity


class RandomAlignment(nn.Module):
    """``align(h) = identity(h Q)`` with Q a random orthogonal matrix: norms as they should be, directions by chance.

    Args:
        identity: gives the size and the norm.
        seed: of Q, which is uniform over the orthogonal group (QR of Gaussian numbers, signs corrected).
    """

    def __init__(self, identity: NormMatchedIdentity, seed: int) -> None:
        super().__init__()
        size = identity.source_size
        generator = torch.Generator().manual_seed(seed)
        orthogonal, upper = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        self.source_size = size
        self.target_size = size
        self.identity = identity
        self.register_buffer("rotation", (orthogonal * upper.diagonal().sign()).float(), persistent=False)

    rotation: Tensor

    def forward(
        self, hidden_states: Float[Tensor, "*rows D"], mask: Bool[Tensor, "*rows"] | None = None
    ) -> Float[Tensor, "*rows D"]:
        """Rotated and rescaled rows; padding rows (``mask`` False) are zeros."""
        rotated = hidden_states.float() @ self.rotation.to(hidden_states.device)
        aligned: Tensor = self.identity(rotated, mask)
        return aligned.to(hidden_states.dtype)
