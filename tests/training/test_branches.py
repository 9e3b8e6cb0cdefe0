"""How the losses of samples weigh, and the shape of the other message."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interlat.errors import InputError
from interlat.training.branches import Branch, Negatives, as_long_as, other_message
from interlat.training.examples import Example, Mixed
from interlat.training.fused_losses import LN2
from interlat.training.loss_weights import BranchWeights

EXAMPLE = Example((1, 2), (3, 4), (-100, 4), (1.0, 1.0))


def test_adaptive_weights_follow_each_sample_and_have_no_gradient():
    losses = torch.tensor([0.0, 0.345, 0.69, 5.0, float("inf")], requires_grad=True)
    adaptive, fixed = BranchWeights(0.5, adaptive=True), BranchWeights(0.5)
    weighted = adaptive.weighted(adaptive.terms[0], losses)
    expected = [0.01, 0.01 + 0.49 / 2, 0.5, 0.5, 0.5]
    assert weighted[1:4].tolist() == pytest.approx([w * v for w, v in zip(expected, losses.tolist(), strict=True)][1:4])
    weighted[:4].sum().backward()
    assert losses.grad[:4].tolist() == pytest.approx(expected[:4])
    assert fixed.weighted(fixed.terms[0], losses)[3].item() == 2.5


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
    "settings",
    [{"contrastive": -1.0}, {"plan_distillation": -1}, {"margin": LN2 + 1e-3}, {"margin": 0.0}, {"kl_share": 2.0}],
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError):
        BranchWeights(**settings)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=20).filter(lambda t: len(set(t)) > 1), st.integers(0, 9))
def test_nobody_gets_a_message_of_its_own_task(tasks, seed):
    task_of = {str(number): task for number, task in enumerate(tasks)}
    negatives, rng = Negatives(list(task_of), task_of), random.Random(seed)
    for item, task in task_of.items():
        assert task_of[negatives.of(item, rng)] != task


def test_every_sample_of_another_task_is_as_likely():
    negatives, rng = Negatives("01234", dict(zip("01234", "aabcc", strict=True))), random.Random(0)
    drawn = Counter(negatives.of("1", rng) for _ in range(3000))
    assert set(drawn) == {"2", "3", "4"} and min(drawn.values()) > 900


@pytest.mark.parametrize("tasks", [[], ["a"], ["a", "a"]])
def test_one_task_has_no_negatives(tasks):
    with pytest.raises(InputError, match="one task"):
        Negatives([str(number) for number in range(len(tasks))], dict(enumerate(tasks)) | {"0": "a", "1": "a"})


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_length_is_matched_without_noise(rows):
    message = torch.arange(6.0).reshape(3, 2)
    matched = as_long_as(message, rows)
    assert matched.tolist() == [message[row % 3].tolist() for row in range(rows)]
