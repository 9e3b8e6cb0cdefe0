"""A connector that mixes the embeddings of the most probable next tokens."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from interlat.connectors.base import StateMap
from interlat.engine.protocol import Engine
from interlat.errors import InputError


class TopTokenMean(StateMap):
    """``connector(h) = sum_v p_v W_in[v]`` over the k likeliest tokens, ``p = softmax(logits(h) / tau)`` among them.

    `interlat.connectors.vocabulary.VocabularyMean` without the tail of unlikely tokens (Soft Thinking, arXiv
    2505.15778, with its top-k). With k = 1 a latent step reads the embedding of the likeliest token, as greedy decoding
    does. Only k rows of the table are read. Computed in float32, returned in the dtype of the input.

    Args:
        logits: maps states ``[.., D]`` to next-token scores ``[.., V]``. Scores of ids after the last row are left
            out.
        rows: the input embeddings ``[V, D]``.
        k: number of tokens, at least 1. More than there are rows means all.
        temperature: tau.

    Raises:
        InputError: k is below 1, or the temperature is not positive.
    """

    ADVICE = "give states of the model whose head this map uses"

    def __init__(
        self, logits: Callable[[Tensor], Tensor], rows: Float[Tensor, "V D"], k: int = 10, temperature: float = 1.0
    ) -> None:
        super().__init__()
        if k < 1:
            raise InputError(f"k is {k}; give at least 1 token")
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}; give a number above 0")
        self.source_size = self.target_size = rows.shape[1]
        self.k = min(k, len(rows))
        self.temperature = temperature
        self._logits = logits
        self.register_buffer("rows", rows, persistent=False)

    rows: Tensor

    @classmethod
    def for_engine(cls, engine: Engine, k: int = 10, temperature: float = 1.0) -> "TopTokenMean":
        """The map within the model of an engine."""
        return cls(engine.logits, engine.input_embeddings, k, temperature)

    def map_states(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """See `StateMap.map_states`."""
        scores = self._logits(hidden_states)[..., : len(self.rows)].float()
        scores, tokens = scores.topk(self.k, dim=-1)
        shares = (scores / self.temperature).softmax(dim=-1)
        mean: Tensor = (shares[..., None] * self.rows[tokens].float()).sum(dim=-2)
        return mean
