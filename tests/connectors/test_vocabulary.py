import pytest
import torch

from interlat.connectors.base import Connector
from interlat.connectors.vocabulary import VocabularyMean, embeddings_of_tokens
from interlat.errors import InputError
from interlat.experiments.tokenizer import train_tokenizer

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


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_mean_is_over_the_words_that_the_receiver_knows(temperature):
    head, rows = torch.randn(9, 5), torch.randn(7, 4)
    known = torch.tensor([True, True, False, True, True, False, True])
    align = VocabularyMean(lambda states: states @ head.T, 5, rows, known, temperature)
    assert isinstance(align, Connector) and (align.source_size, align.target_size) == (5, 4)
    states = torch.randn(2, 3, 5)
    mean = align(states)
    for i in range(2):
        for j in range(3):
            weights = [torch.exp(head[v] @ states[i, j] / temperature) for v in range(7) if known[v]]
            expected = sum(w * rows[v] for w, v in zip(weights, known.nonzero().flatten(), strict=True)) / sum(weights)
            torch.testing.assert_close(mean[i, j], expected)


def test_a_sure_model_reads_the_embedding_of_its_word():
    head, rows = torch.eye(6), torch.randn(6, 3)
    align = VocabularyMean(lambda states: 100 * states.float() @ head.T, 6, rows)
    torch.testing.assert_close(align(torch.eye(6)), rows)
    padded = align(torch.eye(6).bfloat16(), torch.tensor([True] * 5 + [False]))
    assert padded.dtype == torch.bfloat16 and not padded[5].any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: VocabularyMean(lambda s: s, 3, torch.randn(3, 2), temperature=0.0),
        lambda: VocabularyMean(lambda s: s, 3, torch.randn(3, 2), torch.zeros(3, dtype=torch.bool)),
        lambda: VocabularyMean(lambda s: s, 3, torch.randn(3, 2))(torch.randn(1, 4)),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()
