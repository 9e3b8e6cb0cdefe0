import torch

from interlat.align.vocabulary import embeddings_of_tokens
from interlat.learning.tokenizer import train_tokenizer

TEXTS = ["find mug at drawer 1. put in shelf 2.", "find apple at shelf 10."] * 20


def test_the_same_vocabulary_is_the_table_itself():
    tokenizer = train_tokenizer(TEXTS, 400, ("<bop>", "<eop>"))
    table = torch.randn(len(tokenizer) + 5, 4)
    rows, known = embeddings_of_tokens(tokenizer, tokenizer, table)
    assert torch.equal(rows, table[: len(tokenizer)]) and known.all()


def test_a_text_has_the_mean_embedding_of_the_tokens_that_it_is_split_into():
    sender = train_tokenizer(TEXTS, 400, ("<bop>", "<eop>", "<only-here>"))
    receiver = train_tokenizer(["a b c"], 300, ("<eop>", "<bop>"))
    table = torch.randn(len(receiver), 4)
    rows, known = embeddings_of_tokens(sender, receiver, table)
    for text in (" drawer 1", "find", "."):
        (token,) = sender.encode(text, add_special_tokens=False)
        pieces = receiver.encode(text, add_special_tokens=False)
        assert torch.allclose(rows[token], torch.stack([table[piece] for piece in pieces]).mean(dim=0))
    vocabulary = sender.get_vocab()
    for name in ("<bop>", "<eop>"):
        assert torch.equal(rows[vocabulary[name]], table[receiver.get_vocab()[name]])
    assert not known[vocabulary["<only-here>"]] and not rows[vocabulary["<only-here>"]].any()
