"""The losses of a batch against one forward pass a sample and branch, and what must hold for every curriculum ratio."""

import math

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from interlat.align.adapter import AdapterConfig, CommunicationAdapter
from interlat.errors import InputError
from interlat.train.branches import Branch, BranchWeights, branch_losses, other_message
from interlat.train.curriculum import cut
from interlat.train.divergences import LN2
from interlat.train.examples import Example, Mixed, collate, embed_batch

SIZE, VOCABULARY = 16, 40


@pytest.fixture(scope="module")
def parts():
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=SIZE, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    adapter = CommunicationAdapter(AdapterConfig(SIZE, SIZE, heads=2, output_scale=2.0)).eval()
    return model, adapter


def example(seed, length):
    generator = torch.Generator().manual_seed(seed)
    after = torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
    labels = [-100, *(t if i % 3 else -100 for i, t in enumerate(after[1:]))]
    return Example((1, 2, 3 + seed), tuple(after), tuple(labels), (1.0,) * length)


def states(seed, rows):
    return torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(100 + seed))


@pytest.fixture
def branches():
    plans = [(5, 6, 7, 8), (9, 10), (11, 12, 13)]
    rows, lengths = [6, 4, 9], [9, 14, 5]
    made = []
    for number in range(3):
        own = Mixed(states(number, rows[number]), rows[number])
        made.append(Branch(example(number, lengths[number]), own, states(50 + number, 5), plans[number]))
    return made


def run_of(parts):
    model, adapter = parts

    def run(batch):
        embeddings = embed_batch(batch, model.get_input_embeddings(), adapter)
        return model.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state

    return run


def losses(parts, branches, weights):
    run = run_of(parts)
    batch = collate([b.example for b in branches], [b.own for b in branches])
    return branch_losses(run(batch), batch, branches, weights, parts[0].lm_head, run)


def slow_distributions(parts, example, message):
    """Reply distributions of one sample, in float64 after a pass of its own without padding."""
    model, adapter = parts
    table = model.get_input_embeddings().weight
    pieces = [table[list(example.before)]]
    if isinstance(message, Mixed):
        pieces += [adapter(message.rows[None])[0][: message.taken], table[list(message.words)]]
    else:
        pieces.append(table[list(message)])
    pieces.append(table[list(example.after)])
    embeddings = torch.cat(pieces)
    with torch.no_grad():
        logits = model(inputs_embeds=embeddings[None]).logits[0].double()
    start = len(embeddings) - len(example.after)
    places = [start + i - 1 for i, label in enumerate(example.labels) if label != -100]
    return logits[places].softmax(dim=-1)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.2])
def test_losses_equal_those_of_single_samples(parts, branches, ratio):
    """Messages of different lengths in every branch: position n of one branch meets position n of the other."""
    for number, branch in enumerate(branches):
        taken, first = cut(ratio, len(branch.own.rows), len(branch.plan))
        own = Mixed(branch.own.rows, taken, branch.plan[first:])
        branches[number] = Branch(branch.example, own, branch.other, branch.plan)
    total, metrics = losses(parts, branches, BranchWeights(separation=0.5, alignment=2.0, margin=0.6))
    separation, alignment = [], []
    for branch in branches:
        p = slow_distributions(parts, branch.example, branch.own)
        q = slow_distributions(parts, branch.example, other_message(branch))
        m = (p + q) / 2
        js = ((p * (p / m).log()).sum(-1) + (q * (q / m).log()).sum(-1)) / 2
        separation.append(max(0.0, 0.6 - js.mean().item()))
        plan = slow_distributions(parts, branch.example, branch.plan)
        kl = (plan * (plan / p).log()).sum(-1)
        cosine = (plan * p).sum(-1) / (plan.norm(dim=-1) * p.norm(dim=-1))
        alignment.append((0.7 * kl + 0.3 * (1 - cosine)).mean().item())
    assert metrics["separation"] == pytest.approx(sum(separation) / 3, abs=1e-5)
    assert metrics["alignment"] == pytest.approx(sum(alignment) / 3, rel=1e-4)
    assert total.item() == pytest.approx(0.5 * metrics["separation"] + 2 * metrics["alignment"], rel=1e-6)
    assert 0 < metrics["separation"] < 0.6


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.9, 1.0])
def test_the_same_message_as_negative_gives_the_largest_loss_at_every_ratio(parts, branches, ratio):
    """The published code drew another ratio for the other branch, so equal messages still looked separate."""
    same = []
    for branch in branches:
        taken, first = cut(ratio, len(branch.own.rows), len(branch.plan))
        same.append(Branch(branch.example, Mixed(branch.own.rows, max(1, taken), branch.plan[first:]), branch.own.rows))
    _, metrics = losses(parts, same, BranchWeights(separation=1.0))
    assert metrics["separation"] == pytest.approx(0.69, abs=1e-6)


def test_the_plan_read_as_the_message_aligns_wholly(parts, branches):
    """Rows that are the plan's own embeddings need an adapter that changes nothing: then L_align is 0."""
    model, _ = parts
    table = model.get_input_embeddings().weight.detach()

    class Same(nn.Module):
        def forward(self, rows, mask, dtype):
            return rows

    own = [Branch(b.example, Mixed(table[list(b.plan)], len(b.plan)), None, b.plan) for b in branches]
    _total, metrics = losses((model, Same()), own, BranchWeights(alignment=1.0))
    assert metrics["alignment"] == pytest.approx(0.0, abs=1e-5)


def test_samples_without_a_latent_message_take_no_part(parts, branches):
    weights = BranchWeights(separation=1.0, alignment=1.0)
    _only, expected = losses(parts, branches[:2], weights)
    mixed = [branches[0], Branch(branches[2].example, None), Branch(branches[2].example, (4, 5)), branches[1]]
    _total, metrics = losses(parts, mixed, weights)
    assert metrics == {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()}
    nothing, none = losses(parts, mixed[1:3], weights)
    assert nothing.item() == 0 and none == {}


def test_weights_of_zero_run_no_other_branch(parts, branches):
    def fails(batch):
        raise AssertionError("no other branch is needed")

    batch = collate([b.example for b in branches], [b.own for b in branches])
    own = run_of(parts)(batch)
    assert branch_losses(own, batch, branches, BranchWeights(), parts[0].lm_head, fails)[0].item() == 0


def test_other_branches_and_weights_get_no_gradient(parts, branches):
    """The gradient is that of fixed weights at the values that the adaptive rule gives."""
    model, _adapter = parts
    run = run_of(parts)
    batch = collate([b.example for b in branches], [b.own for b in branches])

    def gradient(weights):
        states = run(batch).detach().requires_grad_(True)
        total, metrics = branch_losses(states, batch, branches, weights, model.lm_head, run)
        return torch.autograd.grad(total, states)[0], metrics

    adaptive, metrics = gradient(BranchWeights(0.5, 0.05, adaptive=True))
    separation = 0.01 + 0.49 * min(1.0, metrics["separation"] / 0.69)
    alignment = 0.01 + 0.04 * min(1.0, metrics["alignment"] / 4)
    fixed, _ = gradient(BranchWeights(separation, alignment))
    assert torch.allclose(adaptive, fixed, atol=1e-7)
    assert BranchWeights.published() == BranchWeights(0.5, 0.05, adaptive=True)


def test_the_other_message_has_the_shape_of_the_own_one(branches):
    branch = Branch(branches[2].example, Mixed(states(0, 9), 4, (7, 8)), states(1, 5))
    other = other_message(branch)
    assert (other.rows.shape, other.taken, other.words) == ((9, SIZE), 4, (7, 8))
    assert torch.equal(other.rows[5:], branch.other[:4])


def test_an_infinite_loss_keeps_the_full_weight():
    assert BranchWeights(0.5, adaptive=True).weight_of(0.5, torch.tensor(math.inf), 0.69) == 0.5


@pytest.mark.parametrize(
    "settings", [{"separation": -1.0}, {"alignment": -0.1}, {"margin": LN2 + 1e-3}, {"margin": 0.0}, {"kl_share": 2.0}]
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError):
        BranchWeights(**settings)
