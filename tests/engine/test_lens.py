import math

import pytest
import torch

from interlat.engine.lens import logit_lens


@pytest.mark.parametrize("rows_at_once", [1, 3, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_agrees_with_a_slow_reading_row_by_row(rows_at_once, dtype):
    head = torch.randn(11, 4).to(dtype)
    states = torch.randn(7, 4).to(dtype)
    lens = logit_lens(lambda h: h @ head.t(), states, 3, rows_at_once=rows_at_once)
    for row, state in enumerate(states):
        p = (state @ head.t()).double().softmax(dim=-1)
        order = p.argsort(descending=True)[:3]
        assert torch.allclose(lens.probabilities[row].double(), p[order], rtol=1e-2 if dtype != torch.float32 else 1e-4)
        assert torch.allclose(p[lens.token_ids[row]], p[order], rtol=1e-2)
        entropy = -sum(x * math.log(x) for x in p.tolist())
        assert lens.entropy[row].item() == pytest.approx(entropy, rel=1e-2 if dtype != torch.float32 else 1e-4)


def test_impossible_tokens_add_nothing_and_small_vocabularies_give_fewer():
    scores = torch.tensor([[0.0, -math.inf, 0.0]])
    lens = logit_lens(lambda h: scores, torch.zeros(1, 2), 5)
    assert lens.token_ids.shape == (1, 3) and lens.entropy.item() == pytest.approx(math.log(2))
    empty = logit_lens(lambda h: scores[:0], torch.zeros(0, 2), 5)
    assert empty.token_ids.shape == (0, 3) and len(empty.entropy) == 0
