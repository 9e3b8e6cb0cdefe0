import math
import random

import pytest
import torch

from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.train_scout import (
    TrainScout,
    draw_example,
    scenes_of,
    supervised_cross_entropy,
    train_scout,
)
from interlat.training.loop import Schedule


def test_fresh_evidence_every_time_with_targets_that_sum_to_one(pipeline):
    chat = ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))
    scene = scenes_of(pipeline.episodes)[0]
    rng = random.Random(0)
    examples = [draw_example(scene, rng, 0.0, 4.0, chat) for _ in range(5)]
    assert len({example.before for example in examples}) == 5
    for example in examples:
        assert example.soft
        for index, chances in example.soft:
            assert sum(chance for _, chance in chances) == pytest.approx(1)
            assert example.labels[index] in dict(chances)
            assert example.weights[index] == 4.0


def test_a_list_plan_follows_from_the_notes_and_has_no_soft_target(pipeline):
    chat = ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))
    example = draw_example(scenes_of(pipeline.episodes)[0], random.Random(0), 1.0, 4.0, chat)
    assert not example.soft and set(example.weights) == {1.0}


def test_the_entropy_of_real_evidence_is_below_that_of_a_uniform_guess(pipeline):
    """It is the least loss that a scout can reach at a place."""
    episodes = [episode for record in read_episodes(pipeline.episodes) for episode in record["episodes"]]
    known = [belief["probabilities"] for episode in episodes for belief in episode["beliefs"]]
    entropies = [-sum(p * math.log(p) for p in probabilities) for probabilities in known]
    assert 0.5 < sum(entropies) / len(entropies) < math.log(5)


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


def test_micro_batches_of_a_pretrained_start_give_the_same_steps(pipeline, tmp_path):
    """The share of each micro-batch adds up to the loss of the whole, and low-rank updates move the model."""
    losses = {}
    for name, size in (("whole", None), ("parts", 2)):
        config = TrainScout(
            str(pipeline.episodes),
            str(pipeline.held_out),
            output=str(tmp_path / name),
            start=str(pipeline.scout),
            finetune="lora",
            schedule=Schedule(steps=2, batch_size=5, micro_batch_size=size, eval_every=1, learning_rate=0.01),
        )
        losses[name] = [metrics for _, metrics in train_scout(config)]
    for whole, parts in zip(losses["whole"], losses["parts"], strict=True):
        for key in ("loss", "plan_loss", "place_loss", "validation_loss", "validation_place_loss"):
            assert parts[key] == pytest.approx(whole[key], rel=1e-4)
    assert losses["whole"][0]["loss"] != losses["whole"][1]["loss"]
