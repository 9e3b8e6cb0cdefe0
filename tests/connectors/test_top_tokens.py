import pytest
import torch

from interlat.connectors.base import Connector
from interlat.connectors.top_tokens import TopTokenMean
from interlat.connectors.vocabulary import VocabularyMean
from interlat.errors import InputError


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("k", [1, 3, 7, 20])
def test_the_mean_is_over_the_likeliest_tokens(k, temperature):
    head, rows = torch.randn(9, 5), torch.randn(7, 5)
    align = TopTokenMean(lambda states: states @ head.T, rows, k, temperature)
    assert isinstance(align, Connector) and align.source_size == align.target_size == 5
    states = torch.randn(2, 3, 5)
    mean = align(states)
    for i in range(2):
        for j in range(3):
            scores = {v: float(head[v] @ states[i, j]) for v in range(7)}
            best = sorted(scores, key=lambda v: -scores[v])[:k]
            weights = torch.tensor([scores[v] / temperature for v in best]).exp()
            expected = sum(w * rows[v] for w, v in zip(weights, best, strict=True)) / weights.sum()
            torch.testing.assert_close(mean[i, j], expected)


def test_one_token_is_the_embedding_of_the_likeliest_and_all_are_the_vocabulary_mean():
    head, rows, states = torch.randn(9, 5), torch.randn(9, 5), torch.randn(4, 5)

    def logits(states):
        return states @ head.T

    torch.testing.assert_close(TopTokenMean(logits, rows, 1)(states), rows[logits(states).argmax(dim=-1)])
    torch.testing.assert_close(TopTokenMean(logits, rows, 99)(states), VocabularyMean(logits, 5, rows)(states))
    half = TopTokenMean(lambda states: states.float() @ head.T, rows)(
        states.bfloat16(), torch.tensor([True] * 3 + [False])
    )
    assert half.dtype == torch.bfloat16 and not half[3].any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: TopTokenMean(lambda s: s, torch.randn(3, 3), k=0),
        lambda: TopTokenMean(lambda s: s, torch.randn(3, 3), temperature=0.0),
        lambda: TopTokenMean(lambda s: s, torch.randn(3, 3))(torch.randn(1, 4)),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()
