import pytest
import torch

from benchmarks.compress import Shape
from benchmarks.compress_play import STEPS, plain_step, play, random_objective, random_samples

TINY = Shape(3, 3, 9, 14, 48 + 24, 4, 60, 16)


def test_both_sides_have_the_same_losses_and_still_after_updates():
    ours, plain = play("ours", TINY), play("plain", TINY)
    assert min(side[name] for side in (ours, plain) for name in ("seconds", "rollout")) > 0
    assert len(ours["losses"]) == len(plain["losses"]) == 1 + STEPS
    for mine, theirs in zip(ours["losses"], plain["losses"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    first, *_, last = ours["losses"]
    assert set(first) == {"total", "task", "distillation", "mean_cosine"} and last["total"] != first["total"]
    assert min(first.values()) > 0.01


def test_both_sides_have_the_same_gradients():
    gradients = []
    for kind in ("ours", "plain"):
        objective = random_objective(TINY).train()
        step = objective if kind == "ours" else plain_step(objective, TINY)
        step(random_samples(TINY))[0].backward()
        gradients.append({name: p.grad for name, p in objective.compressor.named_parameters()})
    for name, mine in gradients[0].items():
        torch.testing.assert_close(mine, gradients[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_samples_have_the_shape_asked_for():
    shape = Shape(32, 8, 200, 400, 1024, 60, 32_768)
    samples = random_samples(shape)
    prompts = [len(sample.prompt) for sample in samples]
    lengths = [len(sample.example.before) + len(sample.example.after) for sample in samples]
    assert sum(prompts) / 8 == pytest.approx(200, abs=1) and sum(lengths) / 8 == pytest.approx(400, abs=2)
    assert len(set(prompts)) == 8 and max(lengths) < 1024
    assert all(sum(label != -100 for label in s.example.labels) == 60 for s in samples)
