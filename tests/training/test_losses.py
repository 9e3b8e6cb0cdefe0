"""Every loss against float64 arithmetic written out, one position at a time."""

import math

import pytest
import torch
from torch import nn

from interlat.config import from_mapping
from interlat.errors import InputError
from interlat.training import fused_losses
from interlat.training.fused_losses import (
    LN2,
    entropy,
    kl_divergence,
    position_losses,
    samples_of_labels,
    states_at_labels,
)
from interlat.training.loss_weights import BranchWeights, CompressionWeights
from interlat.training.losses import (
    LOSSES,
    Contrastive,
    Distillation,
    LensDistillation,
    Loss,
    MeanCosine,
    Replies,
    measure,
    open_states,
)

ROWS, SIZE, VOCABULARY = 13, 6, 17


@pytest.fixture(params=[1, 4, 100])
def chunks(request, monkeypatch):
    """Chunks that divide the rows unevenly, or hold all of them."""
    monkeypatch.setattr(fused_losses, "CHUNK_LOGITS", request.param * VOCABULARY)


def cross_entropies(states, targets, head):
    return position_losses(states, targets, head, VOCABULARY).cross_entropy


def jensen_shannon(states, other, head):
    targets = torch.zeros(len(states), dtype=torch.long)
    measures = [Contrastive(BranchWeights()).positions]
    return position_losses(states, targets, head, VOCABULARY, measures, {"other": other}).terms[0]


def by_sample(weights, states, references, samples, head):
    targets = torch.zeros(len(states), dtype=torch.long)
    _, found = measure(weights.terms, states, targets, head, VOCABULARY, references, Replies(samples, [], []))
    return [losses for _, losses in found]


def separation_loss(states, other, samples, head, margin=LN2):
    return by_sample(BranchWeights(1.0, margin=margin), states, {"other": other}, samples, head)[0].mean()


def alignment_loss(states, plan, samples, head, share=0.7):
    return by_sample(BranchWeights(0.0, 1.0, kl_share=share), states, {"plan": plan}, samples, head)[0].mean()


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


OURS = {
    "separation": lambda states, other, samples, head: separation_loss(states, other, samples, head, 0.69),
    "alignment": lambda states, other, samples, head: alignment_loss(states, other, samples, head),
    "cross_entropy": lambda states, other, samples, head: cross_entropies(states, torch.arange(ROWS), head).mean(),
}


@pytest.mark.parametrize("name", OURS)
def test_gradients_are_those_of_the_arithmetic(chunks, name):
    one, other, samples, head = branches(dtype=torch.float64)
    head.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda states: OURS[name](states, other, samples, head), one.requires_grad_(True))


@pytest.mark.parametrize("name", OURS)
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
    loss = OURS[name](one, other, samples, head)
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
    monkeypatch.setattr(fused_losses, "CHUNK_LOGITS", 4 * VOCABULARY)
    one, other, samples, head = branches()
    seen = []
    head.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    (
        separation_loss(one.requires_grad_(True), other, samples, head) + alignment_loss(one, other, samples, head)
    ).backward()
    assert max(seen) == 4


def test_all_losses_at_once_are_those_of_each_alone(chunks):
    one, other, samples, head = branches()
    _, plan, _, _ = branches(1)
    together = by_sample(BranchWeights(1.0, 1.0), one, {"other": other, "plan": plan}, samples, head)
    assert torch.allclose(together[0].mean(), separation_loss(one, other, samples, head, 0.69))
    assert torch.allclose(together[1].mean(), alignment_loss(one, plan, samples, head))


@pytest.mark.parametrize("frozen", [True, False])
def test_branches_of_other_replies_are_refused(frozen):
    one, other, _, head = branches()
    with pytest.raises(InputError, match="13 and 12 supervised positions"):
        targets = torch.zeros(ROWS, dtype=torch.long)
        position_losses(one, targets, head, VOCABULARY, references={"a": other[:-1]}, frozen_head=frozen)


def test_no_row_gives_no_loss():
    one, other, _, head = branches()
    nothing = torch.zeros(0, dtype=torch.long)
    for losses in by_sample(BranchWeights(1.0, 1.0), one[:0], {"other": other[:0], "plan": other[:0]}, nothing, head):
        assert losses.shape == (0,)


def test_entropy_and_divergence_are_those_of_torch():
    log_p, log_q = (torch.randn(2, 3, 7, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    torch.testing.assert_close(entropy(log_p), torch.distributions.Categorical(logits=log_p).entropy())
    pair = [torch.distributions.Categorical(logits=given) for given in (log_p, log_q)]
    torch.testing.assert_close(kl_divergence(log_p, log_q), torch.distributions.kl_divergence(*pair))


LENGTH = 9
SAMPLES = torch.tensor([0, 0, 0, 1, 3, 3, 3, 3, 3])


def compression_rows(states, targets, head, full, none, temperature=1.0):
    measures = [Distillation(CompressionWeights(temperature=temperature)).positions]
    references = {"full": full, "none": none}
    found = position_losses(states, targets, head, VOCABULARY, measures, references, frozen_head=True)
    return found.cross_entropy, found.terms[0], found.asides[0]


def agreement_by_sample(divergence, certainty, samples, clip_quantile, floor=0.0):
    weights = CompressionWeights(clip_quantile=clip_quantile, min_position_weight=floor)
    return Distillation(weights).samples(Replies(samples, [], [], values=divergence, asides=certainty))


def direction(rows, full):
    loss = MeanCosine(CompressionWeights())
    return loss.samples(Replies(torch.zeros(0), rows, full, adapter=lambda rows, mask: rows))


def parts(dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    states = [torch.randn(LENGTH, SIZE, generator=generator, dtype=dtype) for _ in range(3)]
    head = nn.Linear(SIZE, VOCABULARY, bias=False).to(dtype)
    nn.init.normal_(head.weight, generator=generator)
    return states, torch.arange(LENGTH), head.requires_grad_(False)


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
    rows = compression_rows(states[0], targets, head, states[1], states[2], temperature)
    for found, expected in zip(rows, slow(states, targets, head, temperature), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    alone = position_losses(states[0], targets, head, VOCABULARY, frozen_head=True)
    torch.testing.assert_close(alone.cross_entropy, rows[0])
    assert alone.terms == alone.asides == []


def test_gradients_are_right_and_flow_through_the_own_branch_alone(chunks):
    (own, full, none), targets, head = parts()

    def loss(own, full, none):
        cross_entropy, divergence, certainty = compression_rows(own, targets, head, full, none, 2.0)
        return cross_entropy.sum() + agreement_by_sample(divergence, certainty, SAMPLES, 0.95).sum()

    assert torch.autograd.gradcheck(lambda own: loss(own, full, none), own.requires_grad_())
    full.requires_grad_()
    none.requires_grad_()
    gradients = torch.autograd.grad(loss(own, full, none), [full, none], allow_unused=True)
    assert gradients == (None, None)


def test_an_equal_message_costs_no_agreement():
    (own, _, none), targets, head = parts()
    assert compression_rows(own, targets, head, own, none, 3.0)[1].abs().max() < 1e-12


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


def test_mean_cosine_compares_mean_rows():
    rows = [torch.randn(2, SIZE), torch.randn(4, SIZE)]
    full = [torch.randn(7, SIZE), torch.randn(3, SIZE)]
    pairs = zip(rows, full, strict=True)
    expected = [1 - torch.cosine_similarity(one.mean(0), other.mean(0), dim=0) for one, other in pairs]
    torch.testing.assert_close(direction(rows, full), torch.stack(expected))
    assert direction(rows, [5 * row for row in rows]).abs().max() < 1e-6
    torch.testing.assert_close(direction(rows, [-row for row in rows]), torch.full((2,), 2.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"distillation": -1.0},
        {"mean_cosine": -0.1},
        {"temperature": 0.0},
        {"clip_quantile": 0.0},
        {"reference_rows": 0},
    ],
)
def test_compression_weights_without_meaning_are_refused(changes):
    with pytest.raises(InputError):
        CompressionWeights(**changes)


def test_the_published_weights_of_a_compression():
    weights = CompressionWeights.published(8)
    assert (weights.distillation, weights.mean_cosine, weights.temperature, weights.reference_rows) == (
        0.1,
        0.1,
        4.0,
        8,
    )


WORDS = 11


def hint(rows, messages, head):
    replies = Replies(torch.zeros(0), rows, messages, sender_head=head)
    return LensDistillation(CompressionWeights()).samples(replies)


def softmax(row, head):
    scores = [sum(float(a) * float(b) for a, b in zip(row, word, strict=True)) for word in head]
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def slow_entropy(row, head):
    return -sum(p * math.log(p) for p in softmax(row, head))


def chosen(given, head, count):
    entropies = [slow_entropy(row, head) for row in given]
    best = sorted(range(len(given)), key=lambda place: -entropies[place])[:count]
    return sorted(place for place in best if entropies[place] >= 0.1 * max(entropies))


@pytest.fixture
def head():
    return torch.randn(WORDS, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def states(count, seed):
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 3, 7, 20])
@pytest.mark.parametrize("chunk", [WORDS, 10**6])
def test_the_most_open_states_in_their_order(head, count, chunk, monkeypatch):
    monkeypatch.setattr(fused_losses, "CHUNK_LOGITS", chunk)
    given = states(7, 1)
    assert torch.equal(open_states(given, head, count), given[chosen(given, head, count)])


def test_sure_states_are_not_taken_to_fill_up(head):
    """Two states that leave something open between sure ones, one of which comes first."""
    sure = 40 * head[:3] / head[:3].norm(dim=-1, keepdim=True)
    given = torch.stack([sure[0], torch.zeros(SIZE, dtype=torch.float64), sure[1], 0.1 * head[5], sure[2]])
    assert slow_entropy(given[0], head) < 0.01 < 2 < slow_entropy(given[1], head)
    assert torch.equal(open_states(given, head, 4), given[[1, 3]])
    assert torch.equal(open_states(given, head, 1), given[[1]])


def test_a_long_word_list_is_read_in_chunks_of_one_row(head, monkeypatch):
    monkeypatch.setattr(fused_losses, "CHUNK_LOGITS", 1)
    assert len(open_states(states(5, 2), head, 2)) == 2


def test_the_hint_is_the_divergence_from_the_open_states(head):
    messages = [states(7, 3), states(2, 4), states(5, 5)]
    rows = [states(3, 6), states(3, 7), states(1, 8)]
    found = hint(rows, messages, head)
    for loss, short, message in zip(found, rows, messages, strict=True):
        apart = []
        for row, place in zip(short, chosen(message, head, len(short)), strict=False):
            target, own = softmax(message[place], head), softmax(row, head)
            apart.append(sum(p * math.log(p / q) for p, q in zip(target, own, strict=True)))
        assert float(loss) == pytest.approx(sum(apart) / len(apart), abs=1e-10)


def test_nothing_is_left_to_say_where_the_rows_are_those_states(head):
    message = states(6, 9)
    assert float(hint([open_states(message, head, 4)], [message], head)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_reaches_the_rows_alone(head):
    message, rows = states(4, 10).requires_grad_(True), states(2, 11).requires_grad_(True)
    head = head.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda given: hint([given], [message.detach()], head), rows)
    hint([rows], [message], head).sum().backward()
    assert rows.grad is not None and rows.grad.abs().sum() > 0 and message.grad is None


def test_a_message_does_not_change_its_neighbours_hint(head):
    messages, rows = [states(5, 12), states(9, 13)], [states(2, 14), states(4, 15)]
    together = hint(rows, messages, head)
    alone = [hint([row], [message], head)[0] for row, message in zip(rows, messages, strict=True)]
    assert torch.equal(together, torch.stack(alone))


class Confident(Loss):
    """A loss of another package: the entropy of the reply; it compares with nothing."""

    def positions(self, own, references):
        return entropy(own.log_p), None

    def samples(self, replies):
        return replies.values[:1] * 0 + replies.values.mean().expand(len(replies.samples.unique()))


@pytest.fixture(scope="module")
def confident():
    if "confident" not in LOSSES:
        LOSSES.add("confident", Confident)
    return "confident"


def test_a_loss_of_another_package_is_named_with_its_weight(confident):
    one, other, samples, head = branches()
    weights = from_mapping(BranchWeights, {"separation": 0.5, "more": {confident: 0.1}}, "losses.yaml")
    assert [(term.name, term.weight) for term in weights.terms] == [("contrastive", 0.5), (confident, 0.1)]
    apart, open_ = by_sample(weights, one, {"other": other}, samples, head)
    assert apart.shape == open_.shape == (3,)
    expected = torch.distributions.Categorical(logits=head(one)).entropy().mean()
    torch.testing.assert_close(open_, expected.expand(3))


@pytest.mark.parametrize("more", [{"nowhere": 1.0}, {"distillation": 1.0}, {"contrastive": 1.0}, {"confident": -1.0}])
def test_losses_that_a_training_cannot_have_are_refused(confident, more):
    """An unknown one, one that compares with what only a compression has, one with a field, a negative weight."""
    with pytest.raises(InputError, match=next(iter(more))):
        BranchWeights(more=more)


def test_older_names_are_read():
    old = {"agreement": 2.0, "direction": 0.0, "hint": 0.5, "floor": 0.3}
    assert from_mapping(CompressionWeights, old, "old.yaml") == CompressionWeights(
        2.0, 0.0, 0.5, min_position_weight=0.3
    )
    assert from_mapping(BranchWeights, {"alignment": 0.2}, "old.yaml") == BranchWeights(plan_distillation=0.2)
