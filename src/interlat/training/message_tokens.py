"""The tokens around a message, in a tokenizer and a model that were made without them."""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interlat.connectors.adapter import AdapterConfig
from interlat.errors import CheckpointError

MESSAGE_TOKENS = (AdapterConfig.bop_token, AdapterConfig.eop_token)
"""What opens and what closes a message, as an agent writes it."""


@torch.no_grad()
def add_message_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str] = MESSAGE_TOKENS
) -> tuple[int, ...]:
    """Give a model and its tokenizer the tokens around a message, in place.

    A token that the tokenizer lacks is added as a special one. Embeddings grow only where an id does not fit: a
    vocabulary that was padded has room. The row of a new token is the mean over the rows of the tokens that the model
    knew before, in the input embeddings and in a head of its own; rows of padding do not count, and rows of known
    tokens stay as they are.

    Returns:
        The ids of the tokens, in order.

    Raises:
        CheckpointError: no token of the tokenizer has a row in the model's embeddings, so the two are not a pair.
    """
    known = set(tokenizer.get_vocab().values())
    old: Any = model.get_input_embeddings()
    rows = old.num_embeddings
    trained = sorted(row for row in known if row < rows)
    if not trained:
        raise CheckpointError(
            f"the embeddings have {rows} rows, but the tokenizer has no id among them; load the model's own tokenizer"
        )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in tokens], special_tokens=True)
    vocabulary = tokenizer.get_vocab()
    needed = max(vocabulary.values()) + 1
    if needed > rows:
        model.resize_token_embeddings(needed, mean_resizing=False)
    new = sorted({vocabulary[token] for token in tokens} - known | set(range(rows, needed)))
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tables = {id(one): one for one in (embedding.weight, getattr(head, "weight", None), getattr(head, "bias", None))}
    for table in tables.values():
        if table is not None:
            # In float32: a mean over a hundred thousand numbers of 8 bits would be rounded away.
            table[new] = table[trained].mean(dim=0, dtype=torch.float32).to(table.dtype)
    return tuple(vocabulary[token] for token in tokens)
