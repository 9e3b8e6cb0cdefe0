import pytest
import torch
from interlat.training.compress.losses import CompressionWeights, agreement_by_sample, compression_rows, direction
from torch import nn

from interlat.errors import InputError

ROWS, SIZE, VOCABULARY = 9, 6, 13
SAMPLES = torch.tensor([0, 0, 0, 1, 3, 3, 3, 3, 3])


@pytest.fixture(params=[1, 4, 100])
def chunks(request, monkeypatch):
    monkeypatch.setattr("interlat.training.compress.losses.CHUNK_LOGITS", request.param * VOCABULARY)


def parts(dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    states = [torch.randn(ROWS, SIZE, generator=generator, dtype=dtype) for _ in range(3)]
    head = nn.Linear(SIZE, VOCABULARY, bias=False).to(dtype)
    nn.init.normal_(head.weight, generator=generator)
    return states, torch.arange(ROWS), head.requires_grad_(False)


def slow(states, targets, head, temperature):
    """Position by position, from the definitions."""
    own, full, none = states
    rows = []
    for t in range(len(own)):
        p = [torch.softmax(head(branch[t]), dim=-1) for branch in (own, full, none)]
        soft = [torch.softmax(head(branch[t]) / temperature, dim=-1) for branch in (own, full)]
        entropy = [-(q * q.log()).sum() for q in p]
        divergence = sum(b * (b / a).log() for a, b in zip(soft[0], soft[1], strict=True))
        rows.append((-p[0][targets[t]].log(), temperature**2 * divergence, max(0.0, entropy[2] - entropy[1])))
    return [torch.stack([torch.as_tensor(row[n]) for row in rows]) for n in range(3)]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_rows_are_the_definitions(chunks, temperature):
    states, targets, head = parts()
    rows = compression_rows(
        states[0], targets, head, VOCABULARY, full=states[1], none=states[2], temperature=temperature
    )
    for found, expected in zip(rows, slow(states, targets, head, temperature), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    alone = compression_rows(states[0], targets, head, VOCABULARY)
    torch.testing.assert_close(alone.cross_entropy, rows.cross_entropy)
    assert alone.divergence is None and alone.certainty is None


def test_gradients_are_right_and_flow_through_the_own_branch_alone(chunks):
    (own, full, none), targets, head = parts()

    def loss(own, full, none):
        rows = compression_rows(own, targets, head, VOCABULARY, full=full, none=none, temperature=2.0)
        agreement = agreement_by_sample(rows.divergence, rows.certainty, SAMPLES, 0.95)
        return rows.cross_entropy.sum() + agreement.sum()

    assert torch.autograd.gradcheck(lambda own: loss(own, full, none), own.requires_grad_())
    full.requires_grad_()
    none.requires_grad_()
    gradients = torch.autograd.grad(loss(own, full, none), [full, none], allow_unused=True)
    assert gradients == (None, None)


def test_an_equal_message_costs_no_agreement():
    (own, _, none), targets, head = parts()
    rows = compression_rows(own, targets, head, VOCABULARY, full=own, none=none, temperature=3.0)
    assert rows.divergence.abs().max() < 1e-12


def test_the_agreement_weighs_what_the_message_makes_sure():
    divergence = torch.tensor([1.0, 2.0, 4.0, 7.0, 1.0, 1.0, 1.0, 1.0, 100.0])
    certainty = torch.tensor([1.0, 3.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 50.0])
    means = agreement_by_sample(divergence, certainty, SAMPLES, 1.0)
    assert means.tolist() == pytest.approx([7 / 4, 0.0, (4 + 5000) / 54])
    # The medians of (1, 3) and of (1, 1, 1, 1, 50) are 2 and 1: the large weights are cut to them.
    cut = agreement_by_sample(divergence, certainty, SAMPLES, 0.5)
    assert cut.tolist() == pytest.approx([(1 * 1 + 2 * 2) / 3, 0.0, 104 / 5])


def test_a_sample_does_not_change_the_weights_of_another():
    """In the released code the quantile and the sums are those of the batch."""
    generator = torch.Generator().manual_seed(0)
    divergence, certainty = torch.rand(9, generator=generator), torch.rand(9, generator=generator)
    whole = agreement_by_sample(divergence, certainty, SAMPLES, 0.9)
    for place, sample in enumerate((0, 1, 3)):
        chosen = sample == SAMPLES
        alone = agreement_by_sample(divergence[chosen], certainty[chosen], SAMPLES[chosen], 0.9)
        torch.testing.assert_close(alone[0], whole[place])


def test_the_floor_is_the_least_weight_and_stands_where_nothing_is_certain():
    divergence = torch.tensor([1.0, 2.0, 4.0, 3.0, 5.0])
    certainty, samples = torch.tensor([0.0, 2.0, 0.1, 0.0, 0.0]), torch.tensor([0, 0, 0, 1, 1])
    means = agreement_by_sample(divergence, certainty, samples, 1.0, floor=0.5)
    assert means.tolist() == pytest.approx([(0.5 * 1 + 2 * 2 + 0.5 * 4) / 3, 4.0])
    # The median of (2, 0.1) cuts the 2 before the floor lifts the others; a floor above it makes all alike.
    cut = agreement_by_sample(divergence, certainty, samples, 0.5, floor=0.5)
    assert cut[0].item() == pytest.approx((0.5 * 1 + 1.05 * 2 + 0.5 * 4) / 2.05)
    alike = agreement_by_sample(divergence, certainty, samples, 1.0, floor=3.0)
    assert alike.tolist() == pytest.approx([7 / 3, 4.0])


def test_no_certainty_gives_a_loss_of_zero_with_a_gradient_of_zero():
    divergence = torch.ones(3, requires_grad=True)
    loss = agreement_by_sample(divergence, torch.zeros(3), torch.zeros(3, dtype=torch.long), 0.95)
    (gradient,) = torch.autograd.grad(loss.sum(), divergence)
    assert loss.tolist() == [0.0] and gradient.tolist() == [0.0, 0.0, 0.0]


def test_direction_compares_mean_rows():
    rows, full = torch.randn(2, 4, SIZE), torch.randn(2, 7, SIZE)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    full_mask = torch.arange(7)[None, :] < torch.tensor([7, 3])[:, None]
    expected = [
        1 - torch.cosine_similarity(rows[0, :2].mean(0), full[0].mean(0), dim=0),
        1 - torch.cosine_similarity(rows[1].mean(0), full[1, :3].mean(0), dim=0),
    ]
    torch.testing.assert_close(direction(rows, mask, full, full_mask), torch.stack(expected))
    assert direction(rows, mask, 5 * rows, mask).abs().max() < 1e-6
    torch.testing.assert_close(direction(rows, mask, -rows, mask), torch.full((2,), 2.0))


def test_branches_of_other_replies_are_refused():
    (own, full, none), targets, head = parts()
    with pytest.raises(InputError, match="9 and 8 supervised"):
        compression_rows(own, targets, head, VOCABULARY, full=full[:8], none=none)


@pytest.mark.parametrize(
    "changes",
    [{"agreement": -1.0}, {"direction": -0.1}, {"temperature": 0.0}, {"clip_quantile": 0.0}, {"reference_rows": 0}],
)
def test_weights_without_meaning_are_refused(changes):
    with pytest.raises(InputError):
        CompressionWeights(**changes)


def test_the_published_weights():
    weights = CompressionWeights.published(8)
    assert (weights.agreement, weights.direction, weights.temperature, weights.reference_rows) == (0.1, 0.1, 4.0, 8)
