"""The words of one vocabulary in the embeddings of another model."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def embeddings_of_tokens(
    sender: PreTrainedTokenizerBase, receiver: PreTrainedTokenizerBase, table: Float[Tensor, "V_receiver D"]
) -> tuple[Float[Tensor, "V_sender D"], Bool[Tensor, "V_sender"]]:
    """For each token of the sender the receiver's embedding of the same text.

    A text that the receiver splits gets the mean embedding of its tokens. A special token is looked up by its name,
    since what it means is not in its text.

    Args:
        sender: the tokenizer whose tokens are wanted.
        receiver: the tokenizer that ``table`` belongs to.
        table: the receiver's input embeddings.

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
