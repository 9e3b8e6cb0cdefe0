import pytest
import torch

from benchmarks.published_step import published_step
from benchmarks.train_step import Shape
from benchmarks.train_step_play import random_branches, random_parts
from interlat.errors import BenchmarkError

TINY = Shape(300, 3, 64, 40, 12, 32)


@pytest.fixture(scope="module")
def parts():
    return random_parts(TINY)


def test_padding_changes_nothing(parts):
    branches = random_branches(TINY)
    short, long = (published_step(*parts, branches, padded)[1] for padded in (48, 64))
    assert {name: value.item() for name, value in short.items()} == pytest.approx(
        {name: value.item() for name, value in long.items()}, abs=1e-5
    )


def test_the_loss_is_the_mean_of_the_samples(parts):
    branches = random_branches(TINY)
    whole = published_step(*parts, branches, TINY.padded)[0]
    single = [published_step(*parts, [branch], TINY.padded)[0] for branch in branches]
    assert whole.item() == pytest.approx(torch.stack(single).mean().item(), abs=1e-5)


def test_every_pass_has_all_logits_and_only_the_own_one_a_gradient(parts):
    model, adapter = parts
    seen = []
    hook = model.register_forward_hook(lambda *call: seen.append((tuple(call[2].logits.shape), call[2].loss.grad_fn)))
    published_step(model, adapter, random_branches(TINY), TINY.padded)
    hook.remove()
    assert [shape for shape, _ in seen] == [(3, 64, 300)] * 3
    assert [graph is not None for _, graph in seen] == [False, False, True]


def test_a_sample_that_is_too_long_is_refused(parts):
    with pytest.raises(BenchmarkError, match="expected 30 at most"):
        published_step(*parts, random_branches(TINY), 30)
