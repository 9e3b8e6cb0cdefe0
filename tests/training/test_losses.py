import pytest
import torch

from interlat.errors import InputError
from interlat.training.losses import supervised_cross_entropy


def slow(hidden_states, labels, weight, weights):
    """Full logits in float64, one position at a time."""
    total = norm = 0.0
    for row in range(labels.shape[0]):
        for t in range(1, labels.shape[1]):
            if labels[row, t] == -100:
                continue
            logits = weight.double() @ hidden_states[row, t - 1].double()
            loss = -(logits - torch.logsumexp(logits, 0))[labels[row, t]]
            total += float(weights[row, t] * loss)
            norm += float(weights[row, t])
    return total / norm


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_slow_loss(weighted):
    torch.manual_seed(0)
    states, head = torch.randn(3, 7, 5), torch.nn.Linear(5, 11, bias=False)
    labels = torch.randint(0, 11, (3, 7)).masked_fill(torch.rand(3, 7) < 0.4, -100)
    weights = torch.rand(3, 7) + 0.1 if weighted else None
    loss, losses = supervised_cross_entropy(states, labels, head, weights)
    expected = slow(states, labels, head.weight.detach(), weights if weighted else torch.ones(3, 7))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert len(losses) == int((labels[:, 1:] != -100).sum())


def test_no_label_is_an_error():
    with pytest.raises(InputError, match="no supervised token"):
        supervised_cross_entropy(torch.zeros(1, 3, 2), torch.full((1, 3), -100), torch.nn.Linear(2, 2))


def test_soft_targets_are_the_expected_loss_over_drawn_labels():
    """Averaging the hard loss over labels drawn from the distribution gives the soft loss."""
    torch.manual_seed(1)
    states, head = torch.randn(1, 3, 5), torch.nn.Linear(5, 4, bias=False)
    chances = torch.tensor([[0.5, 0.3, 0.2, 0.0]])
    positions = torch.tensor([[False, True, False]])
    labels = torch.tensor([[-100, 2, -100]])
    soft, _ = supervised_cross_entropy(states, labels, head, None, chances, positions)
    hard = [supervised_cross_entropy(states, torch.tensor([[-100, label, -100]]), head)[0] for label in range(4)]
    expected = sum(chance * loss for chance, loss in zip(chances[0], hard, strict=True))
    assert soft.item() == pytest.approx(expected.item(), rel=1e-6)
