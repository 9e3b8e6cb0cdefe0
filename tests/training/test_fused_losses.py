"""Losses of rows with their Jacobian against what autograd keeps the logits for."""

import pytest
import torch

from interlat.training.fused_losses import rows_with_gradients

ROWS, SIZE, VOCABULARY = 7, 5, 11


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(4)
    states = torch.randn(ROWS, SIZE, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(VOCABULARY, SIZE, generator=generator, dtype=torch.float64)
    return states, weight, torch.arange(ROWS)


def losses_of(weight, counted=None):
    def function(states, targets):
        if counted is not None:
            counted.append(len(states))
        log_p = (states @ weight.T).log_softmax(-1)
        columns = [-log_p.gather(1, targets[:, None])[:, 0], (log_p.exp() * log_p).sum(-1), states.square().sum(-1)]
        return torch.stack(columns, dim=1), targets * 2

    return function


@pytest.mark.parametrize("rows", [0, 1, 3, 7, 50])
def test_values_and_gradients_are_those_of_autograd(given, rows):
    states, weight, targets = given
    weights = torch.randn(ROWS, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, rest = rows_with_gradients(losses_of(weight), states, [targets], rows)
    expected, _ = losses_of(weight)(states, targets)
    torch.testing.assert_close(found, expected)
    assert rest.tolist() == (targets * 2).tolist()
    (ours,) = torch.autograd.grad((found * weights).sum(), states)
    (theirs,) = torch.autograd.grad((expected * weights).sum(), states)
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(
        lambda states: rows_with_gradients(losses_of(weight), states, [targets], rows)[0], states
    )


def test_each_row_is_computed_once_and_kept_as_its_gradients(given):
    """What is kept for the backward pass is ``[N, L, D]``: nothing of the size of the vocabulary."""
    states, weight, targets = given
    counted, kept = [], []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        found, _ = rows_with_gradients(losses_of(weight, counted), states, [targets], 3)
    assert kept.count((ROWS, 3, SIZE)) == 1
    kept.clear()
    found.sum().backward()
    assert counted == [3, 3, 1]


def test_without_a_gradient_nothing_is_taken(given):
    states, weight, targets = given
    with torch.no_grad():
        found, _ = rows_with_gradients(losses_of(weight), states, [targets], 3)
    assert not found.requires_grad
    frozen, _ = rows_with_gradients(losses_of(weight), states.detach(), [targets], 3)
    assert not frozen.requires_grad
    torch.testing.assert_close(frozen, found)
