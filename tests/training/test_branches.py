"""How the losses of samples weigh, and the shape of the other message."""

import pytest
import torch
from interlat.training.divergences import LN2

from interlat.errors import InputError
from interlat.training.branches import Branch, BranchWeights, other_message
from interlat.training.examples import Example, Mixed

EXAMPLE = Example((1, 2), (3, 4), (-100, 4), (1.0, 1.0))


def test_adaptive_weights_follow_each_sample_and_have_no_gradient():
    losses = torch.tensor([0.0, 0.345, 0.69, 5.0, float("inf")], requires_grad=True)
    weighted = BranchWeights(0.5, adaptive=True).weighted(0.5, losses, 0.69)
    expected = [0.01, 0.01 + 0.49 / 2, 0.5, 0.5, 0.5]
    assert weighted[1:4].tolist() == pytest.approx([w * v for w, v in zip(expected, losses.tolist(), strict=True)][1:4])
    weighted[:4].sum().backward()
    assert losses.grad[:4].tolist() == pytest.approx(expected[:4])
    assert BranchWeights(0.5).weighted(0.5, losses, 0.69)[3].item() == 2.5


def test_the_published_weights():
    assert BranchWeights.published() == BranchWeights(0.5, 0.05, adaptive=True)


def test_the_other_message_has_the_shape_of_the_own_one():
    rows, other = torch.randn(9, 4), torch.randn(5, 4)
    made = other_message(Mixed(rows, 4, (7, 8)), other, (1, 2, 3))
    assert (made.rows.shape, made.taken, made.words) == ((9, 4), 4, (2, 3))
    assert torch.equal(made.rows[5:], other[:4])
    assert other_message(Mixed(rows, 4, (7, 8, 9, 9)), other, (1, 2)).words == (1, 2, 1, 2)
    assert other_message(Mixed(rows, 4, (7, 8, 9)), other, (1, 2)).words == (2, 1, 2)
    assert other_message(Mixed(rows, 9), other).words == ()


def test_latent_is_what_reads_a_latent_row():
    rows = torch.randn(3, 4)
    messages = [None, (1, 2), Mixed(rows, 0, (5,)), Mixed(rows, 1, (5,)), Mixed(rows, 3)]
    assert [Branch(EXAMPLE, message).is_latent for message in messages] == [False, False, False, True, True]


@pytest.mark.parametrize(
    "settings", [{"separation": -1.0}, {"alignment": -0.1}, {"margin": LN2 + 1e-3}, {"margin": 0.0}, {"kl_share": 2.0}]
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError):
        BranchWeights(**settings)
