"""The losses of a batch against one forward pass a sample and branch, and what must hold for every curriculum ratio."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.rotary import read_rows_apart
from interlat.training.branches import Branch, Totals, cut, other_message
from interlat.training.examples import Example, Mixed, collate
from interlat.training.loss_weights import BranchWeights
from interlat.training.objective import ActorObjective
from interlat.training.preference import score_trajectories
from model_fixtures import make_longrope
from sweep.tiny_models import tiny_model

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
    adapter = CommunicationAdapter(AdapterConfig(SIZE, SIZE, heads=2, output_scale=2.0, dropout=0.0)).eval()
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
        other = other_message(own, states(50 + number, 5))
        made.append(Branch(example(number, lengths[number]), own, other, plans[number]))
    return made


def losses(parts, branches, weights):
    """The loss without that of the task, and the metrics."""
    objective = ActorObjective(*parts, weights).train()
    for module in parts:
        module.train()
    loss, metrics = objective(branches)
    values = {name: value.item() for name, value in metrics.items()}
    return loss - metrics.get("task", loss), values


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
        other = other_message(own, branch.other.rows, (3, 1, 4, 1, 5))
        branches[number] = Branch(branch.example, own, other, branch.plan)
    total, metrics = losses(parts, branches, BranchWeights(contrastive=0.5, plan_distillation=2.0, margin=0.6))
    contrastive, alignment = [], []
    for branch in branches:
        p = slow_distributions(parts, branch.example, branch.own)
        q = slow_distributions(parts, branch.example, branch.other)
        m = (p + q) / 2
        js = ((p * (p / m).log()).sum(-1) + (q * (q / m).log()).sum(-1)) / 2
        contrastive.append(max(0.0, 0.6 - js.mean().item()))
        plan = slow_distributions(parts, branch.example, branch.plan)
        kl = (plan * (plan / p).log()).sum(-1)
        cosine = (plan * p).sum(-1) / (plan.norm(dim=-1) * p.norm(dim=-1))
        alignment.append((0.7 * kl + 0.3 * (1 - cosine)).mean().item())
    assert metrics["contrastive"] == pytest.approx(sum(contrastive) / 3, abs=1e-5)
    assert metrics["plan_distillation"] == pytest.approx(sum(alignment) / 3, rel=1e-4)
    assert total.item() == pytest.approx(0.5 * metrics["contrastive"] + 2 * metrics["plan_distillation"], rel=1e-6)
    assert 0 < metrics["contrastive"] < 0.6


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.9, 1.0])
def test_the_same_message_as_negative_gives_the_largest_loss_at_every_ratio(parts, branches, ratio):
    """The published code drew another ratio for the other branch, so equal messages still looked separate."""
    same = []
    for branch in branches:
        taken, first = cut(ratio, len(branch.own.rows), len(branch.plan))
        own = Mixed(branch.own.rows, max(1, taken), branch.plan[first:])
        same.append(Branch(branch.example, own, other_message(own, branch.own.rows, branch.plan)))
    _, metrics = losses(parts, same, BranchWeights(contrastive=1.0))
    assert metrics["contrastive"] == pytest.approx(0.69, abs=1e-6)


def test_the_plan_read_as_the_message_aligns_wholly(parts, branches):
    """Rows that are the plan's own embeddings need an adapter that changes nothing: then L_align is 0."""
    model, _ = parts
    table = model.get_input_embeddings().weight.detach()

    class Same(nn.Module):
        def forward(self, rows, mask, dtype):
            return rows

    own = [Branch(b.example, Mixed(table[list(b.plan)], len(b.plan)), None, b.plan) for b in branches]
    _total, metrics = losses((model, Same()), own, BranchWeights(plan_distillation=1.0))
    assert metrics["plan_distillation"] == pytest.approx(0.0, abs=1e-5)


def test_samples_without_a_latent_message_take_no_part(parts, branches):
    weights = BranchWeights(contrastive=1.0, plan_distillation=1.0)
    _only, expected = losses(parts, branches[:2], weights)
    mixed = [branches[0], Branch(branches[2].example, None), Branch(branches[2].example, (4, 5)), branches[1]]
    _total, metrics = losses(parts, mixed, weights)
    for name in ("contrastive", "plan_distillation"):
        assert metrics[name] == pytest.approx(expected[name], abs=1e-6)
    nothing, none = losses(parts, mixed[1:3], weights)
    assert nothing.item() == 0 and (none["contrastive"], none["plan_distillation"]) == (0, 0)


def test_the_task_is_the_weighted_mean_over_all_labels(parts, branches):
    weighted = [
        Branch(replace(b.example, weights=tuple(1.0 + (i % 4) for i in range(len(b.example.after)))), b.own)
        for b in branches
    ]
    total = weight = 0.0
    for branch in weighted:
        p = slow_distributions(parts, branch.example, branch.own)
        learned = [i for i, label in enumerate(branch.example.labels) if label != -100]
        for row, i in zip(p, learned, strict=True):
            total -= branch.example.weights[i] * row[branch.example.labels[i]].log().item()
            weight += branch.example.weights[i]
    loss, metrics = ActorObjective(*parts)(weighted)
    assert loss.item() == pytest.approx(total / weight, rel=1e-5) and metrics == {}


@pytest.mark.parametrize("cuts", [(1, 2), (2,), (1,)])
def test_passes_add_up_to_the_step(parts, branches, cuts):
    """Cut into passes in any way, a step has the same loss, the same metrics and the same gradient."""
    branches = [branches[0], Branch(branches[2].example, None), branches[1], branches[2]]
    objective = ActorObjective(*parts, BranchWeights(0.5, 0.05, adaptive=True)).train()
    totals = Totals.of(branches)

    def step(pieces):
        objective.zero_grad()
        results = [objective(piece, totals) for piece in pieces]
        sum(loss for loss, _ in results).backward()
        logged = {name: sum(m[name].item() for _, m in results) for name in results[0][1]}
        return sum(loss.item() for loss, _ in results), logged, [p.grad.clone() for p in objective.parameters()]

    borders = [0, *cuts, len(branches)]
    pieces = [branches[a:b] for a, b in itertools.pairwise(borders)]
    loss, logged, gradients = step([branches])
    loss_of_pieces, logged_of_pieces, gradients_of_pieces = step(pieces)
    assert loss_of_pieces == pytest.approx(loss, rel=1e-5)
    assert logged_of_pieces == {name: pytest.approx(value, abs=1e-5) for name, value in logged.items()}
    for one, other in zip(gradients, gradients_of_pieces, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_pass_without_latent_messages_runs_the_references_too(parts, branches):
    """Ranks of a sharded model gather its layers together, so each must run the backbone as often as the others."""
    model, _ = parts
    counts = []
    hook = model.model.layers[0].register_forward_hook(lambda *_: counts.append(1))
    for chosen in (branches, [Branch(branches[0].example, None)]):
        counts.append(0)
        losses(parts, chosen, BranchWeights(0.5, 0.5))
    hook.remove()
    assert counts == [0, 1, 1, 1, 0, 1, 1, 1]


def test_weights_of_zero_and_evaluation_run_no_other_branch(parts, branches):
    model, adapter = parts
    counts = []
    hook = model.model.layers[0].register_forward_hook(lambda *_: counts.append(1))
    losses(parts, branches, BranchWeights())
    loss, metrics = ActorObjective(model, adapter, BranchWeights(0.5, 0.5)).eval()(branches)
    hook.remove()
    assert counts == [1, 1] and metrics == {} and loss.item() > 0


def test_other_branches_and_adaptive_weights_get_no_gradient(parts, branches):
    """The gradient is that of fixed weights at the values that the adaptive rule gives to each sample."""
    model, adapter = parts

    def gradient(branch, weights):
        objective = ActorObjective(model, adapter, weights).train()
        objective.zero_grad()
        loss, metrics = objective([branch])
        loss.backward()
        return [p.grad.clone() for p in objective.parameters()], metrics

    for branch in branches:
        adaptive, metrics = gradient(branch, BranchWeights(0.5, 0.05, adaptive=True))
        contrastive = 0.01 + 0.49 * min(1.0, metrics["contrastive"].item() / 0.69)
        alignment = 0.01 + 0.04 * min(1.0, metrics["plan_distillation"].item() / 4)
        fixed, _ = gradient(branch, BranchWeights(contrastive, alignment))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(adaptive, fixed, strict=True))


def test_references_are_read_without_dropout(parts, branches):
    """What the own branch is compared with must not differ from it by chance: equal messages stay equal but for the
    dropout of the own branch, which is off here."""
    model, _ = parts
    torch.manual_seed(0)
    dropping = CommunicationAdapter(AdapterConfig(SIZE, SIZE, heads=2, output_scale=2.0, dropout=0.5))
    seen = []
    dropping.register_forward_hook(lambda module, inputs, output: seen.append(module.training))
    losses((model, dropping), branches, BranchWeights(contrastive=0.5))
    assert seen == [False, True]


@pytest.mark.parametrize("reading_weight", [0.0, 0.3])
def test_totals_are_those_of_the_batch(branches, reading_weight):
    words = [Branch(branches[0].example, (4, 5, 6)), Branch(branches[1].example, None), branches[2]]
    batch = collate([b.example for b in words], [b.own for b in words], reading_weight)
    supervised = batch.labels[:, 1:] != -100
    totals = Totals.of(words, reading_weight)
    assert totals.weight == pytest.approx(batch.weights[:, 1:][supervised].sum().item())
    assert totals.latent == 1


@pytest.mark.parametrize("name", ["granite", "cohere", "gemma2", "gemma3_text", "minicpm3", "hyperclovax"])
def test_the_loss_is_made_of_the_scores_that_the_model_gives(name):
    """These models scale their embeddings, scale their scores or cap them; the head alone is not what they say."""
    model, branch = tiny_model(name), Branch(example(1, 9), None, None, ())
    ids = torch.tensor([[*branch.example.before, *branch.example.after]])
    labels = torch.tensor([-100] * len(branch.example.before) + list(branch.example.labels))
    with torch.no_grad():
        log_p = model(input_ids=ids).logits[0].double().log_softmax(dim=-1)
        loss, _ = ActorObjective(model, None).eval()([branch])
    places = (labels[1:] != -100).nonzero()[:, 0]
    expected = -log_p[places, labels[places + 1]]
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-4)
    scores = score_trajectories(ActorObjective(model, None).eval(), [branch.example], [None])
    assert scores.log_probabilities.item() == pytest.approx(-expected.sum().item(), rel=1e-4)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def states_of(model, batch, precision="float32"):
    return ActorObjective(model, None, precision=precision).states(batch)


def batch_of(*lengths):
    ids = [tuple(range(1, length + 1)) for length in lengths]
    return collate([Example((7,), one, one, (1.0,) * len(one)) for one in ids], [None] * len(ids))


def test_padding_changes_no_state(model):
    together = states_of(model, batch_of(3, 9))
    alone = states_of(model, batch_of(3))
    torch.testing.assert_close(together[0, :4], alone[0], atol=1e-6, rtol=1e-5)
    expected = model(input_ids=torch.tensor([[7, 1, 2, 3]]), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(alone, expected, atol=1e-6, rtol=1e-5)


def test_bfloat16_is_the_arithmetic_and_not_the_result(model):
    batch = batch_of(6)
    exact, rough = (states_of(model, batch, p) for p in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_a_row_beside_one_that_is_longer_than_its_rotary_factors_last_is_read_as_if_alone():
    """The factors of LongRoPE change after 32 positions; the expected states are those of a model by itself."""
    model, untouched = make_longrope(), make_longrope()
    read_rows_apart(model)
    together = states_of(model, batch_of(11, 60))
    for row, length in enumerate((11, 60)):
        ids = torch.tensor([[7, *range(1, length + 1)]])
        expected = untouched(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(together[row, : length + 1], expected, atol=1e-4, rtol=1e-4)
