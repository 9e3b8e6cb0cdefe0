import pytest
import torch

from interlat.connectors.base import Connector
from interlat.connectors.vocabulary import VocabularyMean, embeddings_of_tokens, mean_of_rows
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


@pytest.mark.parametrize("rows", [1, 700])
def test_a_mean_over_a_bfloat16_table_is_the_float64_one_rounded(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(rows, 8, generator=generator).to(torch.bfloat16)
    weights = (3 * torch.randn(5, 2, rows, generator=generator)).softmax(-1)
    exact = weights.double() @ table.double()
    found = mean_of_rows(weights, table)
    assert found.dtype == torch.float32 and found.shape == (5, 2, 8)
    # Half a unit in the last place of each of the two products, and what the second number leaves out.
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2**-16)


def test_a_mean_over_a_bfloat16_table_keeps_more_of_the_weights_than_bfloat16_has() -> None:
    weights = torch.tensor([[0.5 + 2**-12, 0.5 - 2**-12]])
    assert mean_of_rows(weights, torch.tensor([[1.0], [-1.0]], dtype=torch.bfloat16)).item() == 2**-11


def test_gradients_go_through_a_mean_over_a_bfloat16_table() -> None:
    table = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    weights = torch.full((3, 20), 0.05, requires_grad=True)
    mean_of_rows(weights, table).sum().backward()
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, table.float().sum(-1).expand(3, 20), rtol=2**-6, atol=2**-6)
