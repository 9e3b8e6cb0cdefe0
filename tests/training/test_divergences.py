"""Every loss against float64 arithmetic written out, one position at a time."""

import math

import pytest
import torch
from interlat.training.divergences import (
    LN2,
    entropy,
    hinge,
    kl_divergence,
    losses_of_rows,
    mean_by_sample,
    samples_of_labels,
    states_at_labels,
)
from torch import nn

from interlat.errors import InputError
from interlat.training import divergences

ROWS, SIZE, VOCABULARY = 13, 6, 17


@pytest.fixture(params=[1, 4, 100])
def chunks(request, monkeypatch):
    """Chunks that divide the rows unevenly, or hold all of them."""
    monkeypatch.setattr(divergences, "CHUNK_LOGITS", request.param * VOCABULARY)


def cross_entropies(states, targets, head):
    return losses_of_rows(states, targets, head, VOCABULARY).cross_entropy


def jensen_shannon(states, other, head):
    return losses_of_rows(states, torch.zeros(len(states), dtype=torch.long), head, VOCABULARY, other=other).divergence


def separation_loss(states, other, samples, head, margin=LN2):
    return hinge(mean_by_sample(jensen_shannon(states, other, head), samples), margin).mean()


def alignment_loss(states, plan, samples, head, share=0.7):
    targets = torch.zeros(len(states), dtype=torch.long)
    rows = losses_of_rows(states, targets, head, VOCABULARY, plan=plan, kl_share=share)
    return mean_by_sample(rows.alignment, samples).mean()


def branches(seed=0, scale=1.5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(SIZE, VOCABULARY, bias=False).to(dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(VOCABULARY, SIZE, generator=generator) * scale)
    one, other = (torch.randn(ROWS, SIZE, generator=generator).to(dtype) for _ in range(2))
    samples = torch.tensor([0] * 3 + [1] * 1 + [3] * 9)
    return one, other, samples, head


def distribution(state, head):
    scores = [float(sum(w * s for w, s in zip(row, state.tolist(), strict=True))) for row in head.weight.tolist()]
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return [weight / sum(weights) for weight in weights]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def slow_js(p, q):
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return kl(p, m) / 2 + kl(q, m) / 2


def means(values, samples):
    groups = {}
    for value, sample in zip(values, samples.tolist(), strict=True):
        groups.setdefault(sample, []).append(value)
    return [sum(group) / len(group) for group in groups.values()]


def test_divergence_equals_the_slow_one(chunks):
    one, other, _, head = branches()
    expected = [slow_js(distribution(a, head), distribution(b, head)) for a, b in zip(one, other, strict=True)]
    assert jensen_shannon(one, other, head).tolist() == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_equals_the_slow_one(chunks):
    one, _, _, head = branches()
    targets = torch.arange(ROWS) % VOCABULARY
    expected = [-math.log(distribution(a, head)[t]) for a, t in zip(one, targets.tolist(), strict=True)]
    assert cross_entropies(one, targets, head).tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("margin", [LN2, 0.2, 0.05])
def test_separation_equals_the_slow_one(chunks, margin):
    one, other, samples, head = branches()
    values = [slow_js(distribution(a, head), distribution(b, head)) for a, b in zip(one, other, strict=True)]
    hinges = [max(0.0, margin - mean) for mean in means(values, samples)]
    loss = separation_loss(one, other, samples, head, margin)
    assert loss.item() == pytest.approx(sum(hinges) / 3, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_alignment_equals_the_slow_one(chunks, share):
    one, plan, samples, head = branches()
    values = []
    for a, b in zip(one, plan, strict=True):
        p, q = distribution(a, head), distribution(b, head)
        cosine = sum(x * y for x, y in zip(p, q, strict=True)) / math.sqrt(
            sum(x * x for x in p) * sum(y * y for y in q)
        )
        values.append(share * kl(q, p) + (1 - share) * (1 - cosine))
    expected = means(values, samples)
    assert alignment_loss(one, plan, samples, head, share).item() == pytest.approx(
        sum(expected) / 3, rel=1e-6, abs=1e-6
    )


def test_equal_branches_separate_not_at_all_and_align_wholly():
    one, _, samples, head = branches()
    assert separation_loss(one, one.clone(), samples, head, 0.69).item() == pytest.approx(0.69, abs=1e-7)
    assert alignment_loss(one, one.clone(), samples, head).item() == pytest.approx(0.0, abs=1e-6)


def test_opposite_branches_reach_the_bound_and_no_more():
    """Two distributions on different tokens: ln 2, and a hinge of 0 at every margin. The published sum is unbounded."""
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    one, other = torch.tensor([[60.0, -60.0]]), torch.tensor([[-60.0, 60.0]])
    assert jensen_shannon(one, other, head).item() == pytest.approx(LN2, abs=1e-6)
    assert separation_loss(one, other, torch.tensor([0]), head).item() == pytest.approx(0.0, abs=1e-6)
    assert jensen_shannon(one * 1e4, other * 1e4, head).isfinite().all()


def test_divergence_is_symmetric_and_never_negative():
    one, other, _, head = branches(3, scale=0.01)
    forward, backward = jensen_shannon(one, other, head), jensen_shannon(other, one, head)
    assert torch.allclose(forward, backward, atol=1e-7) and bool((forward > -1e-7).all())


LOSSES = {
    "separation": lambda states, other, samples, head: separation_loss(states, other, samples, head, 0.69),
    "alignment": lambda states, other, samples, head: alignment_loss(states, other, samples, head),
    "cross_entropy": lambda states, other, samples, head: cross_entropies(states, torch.arange(ROWS), head).mean(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_arithmetic(chunks, name):
    one, other, samples, head = branches(dtype=torch.float64)
    head.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda states: LOSSES[name](states, other, samples, head), one.requires_grad_(True))


@pytest.mark.parametrize("name", LOSSES)
def test_the_head_learns_from_the_own_branch_alone(chunks, name):
    """Its gradient against plain arithmetic in which the other branch has a head of its own, with the same weights."""
    one, other, samples, head = branches(dtype=torch.float64)
    weight = head.weight.detach().clone().requires_grad_(True)
    log_p, log_q = (one @ weight.T).log_softmax(-1), (other @ head.weight.detach().T).log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    log_m = ((p + q) / 2).log()
    rows = {
        "separation": ((p * (log_p - log_m) + q * (log_q - log_m)) / 2).sum(-1),
        "alignment": 0.7 * (q * (log_q - log_p)).sum(-1) + 0.3 * (1 - torch.cosine_similarity(q, p, dim=-1)),
        "cross_entropy": -log_p[torch.arange(ROWS), torch.arange(ROWS)],
    }[name]
    by_sample = torch.stack([rows[samples == sample].mean() for sample in (0, 1, 3)])
    expected = {
        "separation": (0.69 - by_sample).clamp_min(0).mean(),
        "alignment": by_sample.mean(),
        "cross_entropy": rows.mean(),
    }[name]
    loss = LOSSES[name](one, other, samples, head)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    (gradient,) = torch.autograd.grad(loss, head.weight)
    assert torch.allclose(gradient, torch.autograd.grad(expected, weight)[0], atol=1e-9)


def test_short_replies_count_as_much_as_long_ones():
    """Sample 1 has one position, sample 3 nine: only the mean over samples weighs them alike."""
    one, other, samples, head = branches()
    values = jensen_shannon(one, other, head)
    by_sample = torch.stack([values[samples == sample].mean() for sample in (0, 1, 3)])
    loss = separation_loss(one, other, samples, head, LN2)
    assert loss.item() == pytest.approx((LN2 - by_sample).mean().item(), abs=1e-6)
    assert abs(loss.item() - (LN2 - values).mean().item()) > 1e-4


def test_states_are_those_before_the_labels_in_reading_order():
    states = torch.arange(2 * 4 * 1.0).reshape(2, 4, 1)
    labels = torch.tensor([[5, -100, 7, 8], [-100, 6, -100, -100]])
    assert states_at_labels(states, labels)[:, 0].tolist() == [1.0, 2.0, 4.0]
    assert samples_of_labels(labels).tolist() == [0, 0, 1]


def test_full_logits_are_never_made(monkeypatch):
    monkeypatch.setattr(divergences, "CHUNK_LOGITS", 4 * VOCABULARY)
    one, other, samples, head = branches()
    seen = []
    head.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    (
        separation_loss(one.requires_grad_(True), other, samples, head) + alignment_loss(one, other, samples, head)
    ).backward()
    assert max(seen) == 4


def test_all_losses_at_once_are_those_of_each_alone(chunks):
    one, other, _, head = branches()
    _, plan, _, _ = branches(1)
    targets = torch.arange(ROWS) % VOCABULARY
    together = losses_of_rows(one, targets, head, VOCABULARY, other=other, plan=plan)
    assert torch.allclose(together.cross_entropy, cross_entropies(one, targets, head))
    assert torch.allclose(together.divergence, jensen_shannon(one, other, head))
    assert torch.allclose(together.alignment, losses_of_rows(one, targets, head, VOCABULARY, plan=plan).alignment)
    assert losses_of_rows(one, targets, head, VOCABULARY)[1:] == (None, None)


def test_branches_of_other_replies_are_refused():
    one, other, _, head = branches()
    for name in ("other", "plan"):
        with pytest.raises(InputError, match="13 and 12 supervised positions"):
            losses_of_rows(one, torch.zeros(ROWS, dtype=torch.long), head, VOCABULARY, **{name: other[:-1]})


def test_no_row_gives_no_loss():
    one, other, _, head = branches()
    rows = losses_of_rows(one[:0], torch.zeros(0, dtype=torch.long), head, VOCABULARY, other=other[:0])
    assert rows.cross_entropy.shape == rows.divergence.shape == (0,)
    assert mean_by_sample(rows.divergence, torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_entropy_and_divergence_are_those_of_torch():
    log_p, log_q = (torch.randn(2, 3, 7, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    torch.testing.assert_close(entropy(log_p), torch.distributions.Categorical(logits=log_p).entropy())
    pair = [torch.distributions.Categorical(logits=given) for given in (log_p, log_q)]
    torch.testing.assert_close(kl_divergence(log_p, log_q), torch.distributions.kl_divergence(*pair))
