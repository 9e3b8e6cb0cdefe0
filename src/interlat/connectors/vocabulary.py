"""A connector through the vocabulary: the sender's next-token distribution, in the receiver's embeddings."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interlat.connectors.base import StateMap
from interlat.engine.protocol import Engine
from interlat.errors import InputError

ROWS_AT_ONCE = 256
"""States that are mapped at once."""


class VocabularyMean(StateMap):
    """``connector(h) = sum_v p_v W_in[v]``, ``p = softmax(logits(h) / tau)`` over the tokens that the receiver knows.

    A latent step then reads a mixture of tokens, as in Soft Thinking (arXiv 2505.15778), and stays in the convex hull
    of the embeddings. The mixture keeps its own norm. The map works with tied embeddings, and between models of
    different widths and tokenizers, where W_in are the receiver's embeddings of the sender's tokens. Computed in
    float32 (bfloat16 embeddings: `mean_of_rows`), returned in the dtype of the input.

    Args:
        logits: maps states ``[.., D_source]`` to the sender's next-token scores ``[.., V]``. Scores of ids after the
            last row are left out.
        source_size: D_source.
        rows: the receiver's embeddings of the sender's tokens, see `embeddings_of_tokens`.
        known: which tokens the receiver knows. The default is all.
        temperature: tau.

    Raises:
        InputError: the temperature is not positive, or no token is known.
    """

    ADVICE = "give states of the model whose head this map uses"

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        source_size: int,
        rows: Float[Tensor, "V_sender D_target"],
        known: Bool[Tensor, "V_sender"] | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}; give a number above 0")
        if known is not None and not known.any():
            raise InputError(
                "the receiver knows none of the sender's tokens; their vocabularies have nothing in common"
            )
        self.source_size = source_size
        self.target_size = rows.shape[1]
        self.temperature = temperature
        self._logits = logits
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("known", known, persistent=False)

    rows: Tensor
    known: Tensor | None

    @classmethod
    def for_engine(cls, engine: Engine, temperature: float = 1.0) -> "VocabularyMean":
        """The map within the model of an engine."""
        return cls(engine.logits, engine.hidden_size, engine.input_embeddings, temperature=temperature)

    def map_states(self, hidden_states: Float[Tensor, "*rows D_source"]) -> Float[Tensor, "*rows D_target"]:
        """The mean embedding of each state, float32."""
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        # Each row needs a score for every token; a batch of long messages would fill the memory.
        mean = torch.cat([self._means(part) for part in rows.split(ROWS_AT_ONCE)])
        return mean.reshape(*hidden_states.shape[:-1], self.target_size)

    def _means(self, hidden_states: Float[Tensor, "rows D_source"]) -> Float[Tensor, "rows D_target"]:
        scores = self._logits(hidden_states)[..., : len(self.rows)].float() / self.temperature
        if self.known is not None:
            # Before the softmax: the known tokens may have next to nothing of the probability.
            scores = scores.masked_fill(~self.known, -torch.inf)
        return mean_of_rows(scores.softmax(dim=-1), self.rows)


def mean_of_rows(weights: Float[Tensor, "*rows V"], table: Float[Tensor, "V D"]) -> Float[Tensor, "*rows D"]:
    """``weights @ table`` in float32, without a float32 copy of a bfloat16 table, which can have 150,000 rows.

    The weights are then the sum of two bfloat16 numbers, which keeps 16 of their 24 bits; each product is summed in
    float32 and rounded to bfloat16 once, as the input of a model is anyway.
    """
    if table.dtype != torch.bfloat16:
        return weights @ table.float()
    high = weights.to(table.dtype)
    low = (weights - high.float()).to(table.dtype)
    # Together, so that the table is read once.
    return (torch.stack([high, low]) @ table).float().sum(dim=0)


def embeddings_of_tokens(
    sender: PreTrainedTokenizerBase, receiver: PreTrainedTokenizerBase, table: Float[Tensor, "V_receiver D"]
) -> tuple[Float[Tensor, "V_sender D"], Bool[Tensor, "V_sender"]]:
    """For each token of the sender the receiver's embedding of the same text, in its table of input embeddings.

    A text that the receiver splits gets the mean embedding of its tokens. A special token is looked up by its name,
    since what it means is not in its text.

    Returns:
        The rows by sender's token id (zeros where there is none), and which of them the receiver knows.
    """
    vocabulary = receiver.get_vocab()
    if sender.get_vocab() == vocabulary:
        size = max(vocabulary.values()) + 1
        return table[:size].clone(), torch.ones(size, dtype=torch.bool)
    size = max(sender.get_vocab().values()) + 1
    rows, known = table.new_zeros(size, table.shape[1]), torch.zeros(size, dtype=torch.bool)
    special = sender.added_tokens_decoder
    for token in range(size):
        if token in special:
            name = str(special[token])
            ids = [vocabulary[name]] if name in vocabulary else []
        else:
            ids = receiver.encode(str(sender.decode([token])), add_special_tokens=False)
        if ids:
            rows[token] = table[ids].mean(dim=0)
            known[token] = True
    return rows, known
