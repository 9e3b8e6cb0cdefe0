"""The ridge map of LatentMAS: a closed-form map from a model's output states to its own input space."""

import dataclasses
import os
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.connectors.base import StateMap
from interlat.connectors.identity import CHUNK_ROWS, NormMatchedIdentity, mean_embedding_norm
from interlat.connectors.module_file import StoredModule
from interlat.engine.protocol import Engine
from interlat.errors import InputError
from interlat.progress import say
from interlat.typed import check_range

PUBLISHED_RIDGE = 1e-5
"""The penalty of the released code, absolute."""
CACHE_VARIABLE = "INTERLAT_CACHE"


@dataclasses.dataclass(frozen=True)
class RidgeConfig:
    """Shape and penalty of a ridge map."""

    size: int
    """Hidden size D."""
    target_norm: float
    """Mean norm nu of the input embeddings."""
    ridge: float = PUBLISHED_RIDGE
    """Penalty lambda, not scaled."""
    weights_fingerprint: str = ""
    """Fingerprint of the model that it was made from."""

    def __post_init__(self) -> None:
        check_range(self, "(0, inf)", "size", "target_norm", "ridge")


class RidgeMap(StateMap, StoredModule):
    """``connector(h) = nu * h W_a / max(||h W_a||_2, 1e-6)``, ``W_a = (W_out^T W_out + lambda I)^-1 W_out^T W_in``.

    W_a minimises ``||W_out W_a - W_in||^2 + lambda ||W_a||^2``, nu is the mean norm of the rows of W_in, and h is a row
    vector. Source: LatentMAS (arXiv 2511.20639), section 3.1. The rescaling is in its code only. Computed in float32,
    returned in the dtype of the input.
    """

    FILE = "ridge.safetensors"
    FORMAT = "interlat-ridge"
    KIND = "a ridge map"
    MISSING = f"holds no ridge map ({FILE} is missing); make one with `ridge_map`"
    CONFIG = RidgeConfig
    ADVICE = "a ridge map works within the model that it was made of"
    config: RidgeConfig

    def __init__(self, config: RidgeConfig) -> None:
        super().__init__()
        self.config = config
        self.source_size = self.target_size = config.size
        self.identity = NormMatchedIdentity(config.size, config.target_norm)
        self.weight = torch.nn.Parameter(torch.eye(config.size))

    @classmethod
    @torch.no_grad()
    def of_tables(
        cls,
        input_embeddings: Float[Tensor, "V D"],
        output_embeddings: Float[Tensor, "V D"],
        ridge: float = PUBLISHED_RIDGE,
        weights_fingerprint: str = "",
    ) -> "RidgeMap":
        """Make the map of a model with these tables. It computes in float64, in memory for D x D and a chunk of rows.

        Raises:
            InputError: the tables differ in shape, or ``ridge`` is not positive.
        """
        if input_embeddings.shape != output_embeddings.shape:
            raise InputError(
                f"the input table has shape {list(input_embeddings.shape)} and the output table "
                f"{list(output_embeddings.shape)}; give both tables of one model"
            )
        size = input_embeddings.shape[1]
        config = RidgeConfig(size, mean_embedding_norm(input_embeddings), ridge, weights_fingerprint)
        device = output_embeddings.device
        gram = torch.eye(size, dtype=torch.float64, device=device) * ridge
        mixed = torch.zeros(size, size, dtype=torch.float64, device=device)
        chunks = zip(input_embeddings.split(CHUNK_ROWS), output_embeddings.split(CHUNK_ROWS), strict=True)
        for read, written in chunks:
            rows = written.double()
            gram += rows.T @ rows
            mixed += rows.T @ read.to(device, torch.float64)
        made = cls(config).to(device)
        made.weight.copy_(torch.linalg.solve(gram, mixed))
        return made.requires_grad_(False).eval()

    def map_states(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """Mapped and rescaled states, float32."""
        return self.identity.map_states(hidden_states.float() @ self.weight)


def ridge_map(
    engine: Engine, ridge: float = PUBLISHED_RIDGE, cache: str | Path | None = None
) -> RidgeMap | NormMatchedIdentity:
    """The ridge map of a model. It is kept in the folder ``cache`` (by default `cache_folder`) and made only once.

    With tied embeddings W_a is the identity except for lambda. Then the result is the norm-matched identity, and a line
    on stderr says so.

    Raises:
        CheckpointError: the file in that folder is damaged.
    """
    read, written = engine.input_embeddings, engine.output_embeddings
    if engine.ties_embeddings:
        say(f"{engine.name} ties its embeddings, so the ridge map is the identity; it is skipped")
        return NormMatchedIdentity.of_embeddings(read)
    # Maps of models that scale their embeddings were once made of the unscaled ones; those files stay unread.
    scaled = "-scaled" if engine.scales_embeddings else ""
    place = Path(cache or cache_folder()) / "ridge" / f"{engine.weights_fingerprint[:32]}-{ridge:g}{scaled}"
    if (place / RidgeMap.FILE).is_file():
        return RidgeMap.load(place, engine.device).requires_grad_(False)
    made = RidgeMap.of_tables(read, written, ridge, engine.weights_fingerprint)
    made.save(place)
    return made


def cache_folder() -> Path:
    """Folder of files that can be computed again: ``$INTERLAT_CACHE``, by default ``~/.cache/interlat``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "interlat")
