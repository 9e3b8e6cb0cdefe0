"""The norm-matched identity, a map from a model's output to its own input without training, and its control."""

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.connectors.base import StateMap
from interlat.engine.protocol import Engine
from interlat.errors import InputError

SMALLEST_NORM = 1e-6
CHUNK_ROWS = 16_384


@torch.no_grad()
def mean_embedding_norm(embeddings: Float[Tensor, "V D"]) -> float:
    """The mean norm of the token embeddings: ``nu = mean_v ||W_in[v]||_2`` (float32, chunked over V).

    Source: LatentMAS (arXiv 2511.20639), its code; the paper does not mention the rescaling.
    """
    if embeddings.shape[0] == 0:
        raise InputError("the embedding table is empty, expected at least one row; give the receiver's input table")
    total = sum(chunk.float().norm(dim=-1).double().sum().item() for chunk in embeddings.split(CHUNK_ROWS))
    return total / embeddings.shape[0]


class NormMatchedIdentity(StateMap):
    """``connector(h) = nu * h / max(||h||_2, 1e-6)``, with ``nu`` the receiver's mean embedding norm.

    It keeps the direction of a hidden state and gives it the norm of a token embedding. It works within one model, or
    between two models with one hidden space. Source: LatentMAS (arXiv 2511.20639) with ``latent_space_realign`` off.
    Computed in float32, returned in the dtype of the input.

    Raises:
        InputError: ``target_norm`` is not positive.
    """

    ADVICE = "the identity only works within one hidden space, use an adapter between different models"

    def __init__(self, size: int, target_norm: float) -> None:
        super().__init__()
        if not target_norm > 0:
            raise InputError(f"the target norm is {target_norm}, expected a positive number; check the embedding table")
        self.source_size = self.target_size = size
        self.target_norm = float(target_norm)

    @classmethod
    def of_embeddings(cls, embeddings: Float[Tensor, "V D"]) -> "NormMatchedIdentity":
        """The identity for the model whose input embedding table is ``embeddings``."""
        return cls(embeddings.shape[1], mean_embedding_norm(embeddings))

    @classmethod
    def for_engine(cls, engine: Engine) -> "NormMatchedIdentity":
        """The identity for the model of an engine."""
        return cls.of_embeddings(engine.input_embeddings)

    def map_states(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """Rescaled states, float32. Zero stays zero."""
        rows = hidden_states.float()
        return self.target_norm * rows / rows.norm(dim=-1, keepdim=True).clamp_min(SMALLEST_NORM)


class RandomRotation(StateMap):
    """``connector(h) = identity(h Q)`` with Q a random orthogonal matrix: the right norms, random directions.

    Args:
        identity: norm-matched identity, which gives the size and the norm.
        seed: seed of Q, which is uniform over the orthogonal group (QR of Gaussian numbers, signs corrected).
    """

    def __init__(self, identity: NormMatchedIdentity, seed: int) -> None:
        super().__init__()
        size = self.source_size = self.target_size = identity.source_size
        generator = torch.Generator().manual_seed(seed)
        orthogonal, upper = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        self.identity = identity
        self.register_buffer("rotation", (orthogonal * upper.diagonal().sign()).float(), persistent=False)

    rotation: Tensor

    @classmethod
    def for_engine(cls, engine: Engine, seed: int = 0) -> "RandomRotation":
        """The control for the model of an engine."""
        return cls(NormMatchedIdentity.for_engine(engine), seed)

    def map_states(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """Rotated and rescaled states, float32."""
        return self.identity.map_states(hidden_states.float() @ self.rotation.to(hidden_states.device))
