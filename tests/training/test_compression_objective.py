"""The losses of compressed messages against one plain pass a sample, and the law of batching."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.bridge import Bridge, BridgeConfig
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.errors import InputError
from interlat.training.compression_objective import CompressionObjective, CompressionTotals, FrozenReceiver
from interlat.training.compressors import Reasoner, Resampling, Sample
from interlat.training.examples import Example, Mixed
from interlat.training.loss_weights import CompressionWeights
from interlat.training.losses import LensDistillation, Replies
from sweep.tiny_models import tiny_model

SIZE, SENDER_SIZE, VOCABULARY = 16, 12, 40


def model_of(size, seed):
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=size, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def reasoner():
    bridge = Bridge(BridgeConfig(SENDER_SIZE, SENDER_SIZE))
    model = model_of(SENDER_SIZE, 5)
    bridge.begin(model.get_input_embeddings().weight, seed=1)
    return Reasoner(model, bridge)


def resampling():
    resampler = Resampler(ResamplerConfig(SENDER_SIZE, queries=4, heads=2))
    resampler.begin(seed=2)
    return Resampling(resampler)


def objective_of(compressor, weights=None, head=None, receiver=None):
    # The dropout of a receiver that was not put into evaluation mode would show.
    model = receiver or model_of(SIZE, 3)
    size = model.config.hidden_size
    adapter = CommunicationAdapter(AdapterConfig(SENDER_SIZE, size, heads=2, output_scale=2.0, dropout=0.5)).train()
    with torch.random.fork_rng():
        torch.manual_seed(9)
        for parameter in adapter.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    return CompressionObjective(compressor, model.train(), adapter, weights, head=head).train()


@pytest.fixture
def samples():
    made = []
    for number, (length, rows, steps, prompt) in enumerate([(9, 6, 3, 4), (14, 4, 1, 7), (5, 9, 2, 1)]):
        generator = torch.Generator().manual_seed(number)
        after = torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
        labels = [-100, *(t if i % 3 else -100 for i, t in enumerate(after[1:]))]
        weights = [1.0 + (i % 2) for i in range(length)]
        example = Example((1, 2, 3 + number), tuple(after), tuple(labels), tuple(weights), str(number))
        message = torch.randn(rows, SENDER_SIZE, generator=generator)
        made.append(Sample(example, tuple(range(10, 10 + prompt)), message, steps))
    return made


def slow_parts(objective, samples):
    """Cross-entropy, agreement and direction: one sample, one branch and one position at a time, in float64."""
    model, adapter, weights = objective.model, objective.adapter, objective.weights

    def embed(ids):
        return model.get_input_embeddings()(torch.tensor(ids))

    def distributions(example, rows):
        pieces = [embed(example.before), *([] if rows is None else [adapter(rows[None])[0]])]
        embeddings = torch.cat([*pieces, embed(example.after)])
        logits = model(inputs_embeds=embeddings[None]).logits[0].double()
        start = len(embeddings) - len(example.after)
        labelled = [i for i, label in enumerate(example.labels) if label != -100]
        return [(logits[start + i - 1], example.labels[i], example.weights[i]) for i in labelled]

    task, total, agreements, directions = 0.0, 0.0, [], []
    for sample in samples:
        rows = objective.compressor([sample], sample.latent_steps)[0]
        reference = sample.message[: weights.reference_rows]
        own, full, none = (distributions(sample.example, r) for r in (rows, reference, None))
        for logits, label, weight in own:
            task += -weight * logits.log_softmax(-1)[label]
            total += weight
        sure, apart = [], []
        for (a, *_), (b, *_), (c, *_) in zip(own, full, none, strict=True):
            tau = weights.temperature
            p, q = (a / tau).softmax(-1), (b / tau).softmax(-1)
            apart.append(tau**2 * (q * (q / p).log()).sum())
            entropies = [-(d.softmax(-1) * d.log_softmax(-1)).sum() for d in (b, c)]
            sure.append((entropies[1] - entropies[0]).clamp_min(0).detach())
        sure, apart = torch.stack(sure), torch.stack(apart)
        positive = sure[sure > 1e-6]
        if len(positive):
            sure = sure.clamp_max(positive.quantile(weights.clip_quantile))
        sure = sure.clamp_min(weights.min_position_weight)
        agreements.append((sure * apart).sum() / sure.sum().clamp_min(1e-12))
        means = [adapter(r[None])[0].double().mean(0) for r in (rows, reference)]
        directions.append(1 - torch.cosine_similarity(*means, dim=0))
    return task / total, torch.stack(agreements).mean(), torch.stack(directions).mean()


@pytest.mark.parametrize("make", [reasoner, resampling])
@pytest.mark.parametrize(
    "weights",
    [
        CompressionWeights(0.7, 0.3),
        CompressionWeights(0.7, 0.3, min_position_weight=0.2),
        CompressionWeights.published(3),
    ],
)
def test_a_batch_equals_plain_passes_of_its_samples(samples, make, weights):
    objective = objective_of(make(), weights)
    loss, metrics = objective(samples)
    task, agreement, apart = slow_parts(objective, samples)
    for name, expected in (("task", task), ("distillation", agreement), ("mean_cosine", apart)):
        assert metrics[name].item() == pytest.approx(expected.item(), abs=2e-5), name
    expected = task + weights.distillation * agreement + weights.mean_cosine * apart
    parameters = [p for p in objective.compressor.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    assert loss.item() == pytest.approx(expected.item(), abs=2e-5)
    for ours, theirs in zip(found, wanted, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours.double(), theirs.double(), atol=3e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["granite", "cohere", "gemma2", "minicpm3"])
def test_a_receiver_that_scales_or_caps_its_scores_is_read_as_it_speaks(samples, name):
    weights = CompressionWeights(0.7, 0.3)
    objective = objective_of(resampling(), weights, receiver=tiny_model(name))
    _, metrics = objective(samples)
    task, agreement, _ = slow_parts(objective, samples)
    assert metrics["task"].item() == pytest.approx(task.item(), rel=1e-4)
    assert metrics["distillation"].item() == pytest.approx(agreement.item(), rel=5e-3)


def test_the_hint_is_added_by_its_weight(samples):
    compressor = reasoner()
    table = compressor.model.get_output_embeddings().weight
    hinted = objective_of(compressor, CompressionWeights(0.7, 0.3, lens_distillation=0.2), table)
    loss, metrics = hinted(samples)
    hinted.weights = CompressionWeights(0.7, 0.3)
    plain, before = hinted(samples)
    rows = [compressor([sample], sample.latent_steps)[0] for sample in samples]
    messages = [sample.message for sample in samples]
    replies = Replies(torch.zeros(0), rows, messages, sender_head=table.detach())
    expected = LensDistillation(hinted.weights).samples(replies).mean()
    assert "lens_distillation" not in before and metrics["lens_distillation"].item() == pytest.approx(
        expected.item(), abs=1e-5
    )
    assert loss.item() == pytest.approx(plain.item() + 0.2 * expected.item(), abs=1e-5)
    # What it is judged by does not move with the model, and is no part of what is saved.
    with torch.no_grad():
        table.mul_(2)
    assert torch.equal(hinted.head * 2, table) and "head" not in hinted.state_dict()
    with torch.no_grad():
        assert set(hinted(samples)[1]) == {"task", "distillation"}


def test_passes_add_up_to_the_step(samples):
    compressor = reasoner()
    head = compressor.model.get_output_embeddings().weight
    objective = objective_of(compressor, CompressionWeights(lens_distillation=0.5), head)
    parameters = list(objective.compressor.parameters())
    whole, metrics = objective(samples)
    expected = torch.autograd.grad(whole, parameters)
    totals = CompressionTotals.of(samples)
    shares = [objective(part, totals) for part in (samples[:1], samples[1:])]
    found = torch.autograd.grad(sum(loss for loss, _ in shares), parameters)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=1e-4)
    for name, value in metrics.items():
        assert sum(part[name].item() for _, part in shares) == pytest.approx(value.item(), abs=1e-6)


def test_the_receiver_stays_as_it_is(samples):
    """Neither gradients nor dropout reach it, whatever the objective is told."""
    objective = objective_of(reasoner())
    objective.train()
    assert not objective.model.training and not objective.adapter.training and objective.compressor.training
    first, second = objective(samples)[0], objective(samples)[0]
    assert first.item() == second.item()
    first.backward()
    assert all(p.grad is None for module in (objective.model, objective.adapter) for p in module.parameters())
    assert all(p.grad is not None for p in objective.compressor.parameters())


def test_weights_of_zero_take_no_passes_for_them(samples):
    objective = objective_of(reasoner(), CompressionWeights(0.0, 0.0))
    passes = []
    objective.use_backbone(_counting(objective.model.base_model, passes))
    loss, metrics = objective(samples)
    # What stands before the messages is read once, then the rest under each of them.
    assert set(metrics) == {"task"} and loss.item() == metrics["task"].item() and len(passes) == 1 + 1
    objective.weights = CompressionWeights(1.0, 0.0)
    assert set(objective(samples)[1]) == {"task", "distillation"} and len(passes) == 2 + 1 + 3
    with torch.no_grad():
        assert set(objective(samples)[1]) == {"task", "distillation"} and len(passes) == 6 + 1 + 3


def test_the_cross_entropy_counts_by_its_weight(samples):
    objective = objective_of(reasoner(), CompressionWeights(0.7, 0.3))
    whole, metrics = objective(samples)
    objective.weights = CompressionWeights(0.7, 0.3, cross_entropy=0.25)
    quarter, same = objective(samples)
    assert quarter.item() == pytest.approx(whole.item() - 0.75 * metrics["task"].item(), abs=1e-6)
    assert {name: value.item() for name, value in same.items()} == {n: v.item() for n, v in metrics.items()}
    with torch.no_grad():
        assert objective(samples)[0].item() == pytest.approx(metrics["task"].item(), abs=1e-6)


@pytest.mark.parametrize("direction", [0.0, 0.3])
def test_what_needs_no_receiver_takes_none(samples, direction):
    compressor = reasoner()
    head = compressor.model.get_output_embeddings().weight
    weights = CompressionWeights(0.0, direction, lens_distillation=0.5)
    parameters = list(compressor.parameters())
    objective = objective_of(compressor, weights, head)
    loss, metrics = objective(samples)
    expected = torch.autograd.grad(loss, parameters)
    task = torch.autograd.grad(objective_of(compressor, CompressionWeights(0.0, 0.0))(samples)[0], parameters)
    passes = []
    objective.use_backbone(_counting(objective.model.base_model, passes))
    objective.weights = CompressionWeights(0.0, direction, lens_distillation=0.5, cross_entropy=0.0)
    alone, parts = objective(samples)
    assert not passes and set(parts) == set(metrics) - {"task"}
    assert alone.item() == pytest.approx(loss.item() - metrics["task"].item(), abs=1e-6)
    for ours, whole, of_task in zip(torch.autograd.grad(alone, parameters), expected, task, strict=True):
        torch.testing.assert_close(ours, whole - of_task, atol=5e-6, rtol=1e-3)
    with torch.no_grad():
        assert objective(samples)[0].item() == pytest.approx(metrics["task"].item(), abs=1e-6) and passes


def test_some_loss_must_have_a_weight():
    with pytest.raises(InputError, match="every loss has the weight 0"):
        CompressionWeights(0.0, 0.0, cross_entropy=0.0)


def _counting(backbone, passes):
    class Counting(nn.Module):
        def forward(self, **inputs):
            passes.append(inputs["inputs_embeds"].shape)
            return backbone(**inputs)

    return Counting()


def test_given_messages_are_measured_alike(samples):
    objective = objective_of(reasoner())
    with torch.no_grad():
        rows = objective.compressor(samples, 3)
        own = objective(samples)[0]
    messages = [Mixed(row[: s.latent_steps], s.latent_steps) for row, s in zip(rows, samples, strict=True)]
    given, metrics = objective(samples, messages=messages)
    assert given.item() == pytest.approx(own.item(), abs=1e-6) and not metrics and not given.requires_grad


def test_what_is_not_to_be_imitated_is_agreed_on_all_the_same(samples):
    """Labels without weight: no cross-entropy, and the agreement as before."""
    objective = objective_of(reasoner(), CompressionWeights(0.7, 0.0))
    played = [replace(s, example=replace(s.example, weights=(0.0,) * len(s.example.weights))) for s in samples]
    loss, metrics = objective(played)
    assert metrics["task"].item() == 0 and loss.item() == pytest.approx(0.7 * metrics["distillation"].item())
    assert metrics["distillation"].item() == pytest.approx(slow_parts(objective, samples)[1].item(), abs=2e-5)
    mixed, parts = objective([*samples, *played])
    assert parts["task"].item() == pytest.approx(objective(samples)[1]["task"].item(), rel=1e-5)
    assert parts["distillation"].item() == pytest.approx(metrics["distillation"].item(), rel=1e-5)
    assert mixed.item() == pytest.approx((parts["task"] + 0.7 * parts["distillation"]).item())


def test_without_gradients_the_loss_is_the_cross_entropy_and_the_agreement_is_said(samples):
    objective = objective_of(reasoner(), CompressionWeights(0.7, 0.3))
    _, wanted = objective(samples)
    with torch.no_grad():
        loss, metrics = objective(samples)
    assert loss.item() == metrics["task"].item() == pytest.approx(wanted["task"].item(), rel=1e-5)
    assert metrics["distillation"].item() == pytest.approx(wanted["distillation"].item(), rel=1e-5)
    with torch.no_grad():
        assert "distillation" not in objective_of(reasoner(), CompressionWeights(0.0, 0.3))(samples)[1]


WIDTH = 32


def conversation(before, after, seed):
    """The first token behind the message is to be learned too: the last one before it may predict that."""
    ids = torch.randint(1, VOCABULARY, (before + after,), generator=torch.Generator().manual_seed(seed)).tolist()
    labels = [token if index % 3 != 1 else -100 for index, token in enumerate(ids[before:])]
    return Example(tuple(ids[:before]), tuple(ids[before:]), tuple(labels), (1.0,) * after)


def new_receiver(model, dropout=0.0):
    torch.manual_seed(3)
    adapter = CommunicationAdapter(AdapterConfig(SENDER_SIZE, WIDTH, heads=2, output_scale=2.0, dropout=dropout)).eval()
    for parameter in adapter.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return FrozenReceiver(model.requires_grad_(False), adapter.requires_grad_(False))


def slow_states(model, receiver, example, rows):
    """One whole conversation in one pass without a cache; the states before each label."""
    table = receiver.embedding.weight
    message = [] if rows is None else [receiver.adapter(rows[None])[0]]
    inputs = torch.cat([table[list(example.before)], *message, table[list(example.after)]])
    states = model.get_decoder()(inputs_embeds=inputs[None], use_cache=False).last_hidden_state[0]
    start = len(inputs) - len(example.after)
    return torch.stack([states[start + i - 1] for i, label in enumerate(example.labels) if label != -100])


@pytest.mark.parametrize("lengths", [((5, 7), (1, 4), (9, 3)), ((1, 4), (1, 6))])
@pytest.mark.parametrize("architecture", ["qwen2", "llama", "mistral"])
def test_every_message_is_read_as_in_one_pass(build_model, architecture, lengths):
    model = build_model(architecture)
    receiver = new_receiver(model)
    examples = [conversation(before, after, seed) for seed, (before, after) in enumerate(lengths)]
    generator = torch.Generator().manual_seed(1)
    opened = receiver.open(examples)
    for counts in ([2, 5, 1], [4, 1, 3], None):
        rows = [torch.randn(k, SENDER_SIZE, generator=generator).requires_grad_() for k in counts or [1, 1, 1]]
        rows = rows[: len(examples)]
        messages = [Mixed(row, len(row)) if counts else None for row in rows]
        batch, states = receiver.read(opened, messages)
        given = rows if counts else [None] * len(examples)
        expected = torch.cat([slow_states(model, receiver, e, row) for e, row in zip(examples, given, strict=True)])
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
        assert batch.labels[:, 1:][batch.labels[:, 1:] != -100].tolist() == [
            label for example in examples for label in example.labels if label != -100
        ]
        if counts:
            ours, theirs = (torch.autograd.grad(found.square().sum(), rows) for found in (states, expected))
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_what_stands_before_the_messages_is_kept_without_a_gradient(build_model):
    model = build_model("qwen2")
    receiver = new_receiver(model)
    model.requires_grad_(True)
    opened = receiver.open([conversation(5, 3, 0)])
    assert opened.mask.shape == (1, 4)
    assert not any(tensor.requires_grad for columns in opened.columns for pair in columns for tensor in pair)
