import pytest
import torch

from benchmarks.train_step import Shape
from benchmarks.train_step_play import play, random_branches, random_parts, step_of
from interlat.training.examples import IGNORED

TINY = Shape(300, 3, 64, 40, 12, 32)


@pytest.mark.parametrize("size", [3, 1], ids=["whole", "in passes"])
def test_both_sides_have_the_same_losses_and_still_after_updates(size):
    ours, published = play("ours", TINY, 3), play("published", TINY, size)
    # So small a step may find all its memory in what the process has already.
    assert min(side[name] for side in (ours, published) for name in ("seconds", "memory")) >= 0
    assert len(ours["losses"]) == len(published["losses"]) == 4
    for mine, theirs in zip(ours["losses"], published["losses"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    first, *_, last = ours["losses"]
    assert set(first) == {"total", "task", "contrastive", "plan_distillation"}
    assert last["total"] < first["total"] - 0.1
    # Branches that are alike, or as different as can be, would compare nothing.
    assert 0.05 < first["contrastive"] < 0.68 and first["plan_distillation"] > 0.05


def test_both_sides_have_the_same_gradients():
    gradients = []
    for kind in ("ours", "published"):
        model, adapter = random_parts(TINY)
        step_of(kind, model, adapter, TINY)(random_branches(TINY))[0].backward()
        parameters = [*model.named_parameters(), *adapter.named_parameters()]
        gradients.append({name: parameter.grad for name, parameter in parameters})
    for name, mine in gradients[0].items():
        torch.testing.assert_close(mine, gradients[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_samples_have_the_shape_asked_for():
    shape = Shape(5000, 4, 2048, 900, 200)
    branches = random_branches(shape)
    lengths = [len(b.example.before) + len(b.own) + len(b.example.after) for b in branches]
    assert sum(lengths) / 4 == pytest.approx(900, abs=1) and max(lengths) < 1000 and len(set(lengths)) == 4
    for branch in branches:
        labels = branch.example.labels
        assert len(labels) == len(branch.example.after) and sum(label != IGNORED for label in labels) == 200
        assert all(label in (IGNORED, token) for label, token in zip(labels, branch.example.after, strict=True))
        assert labels[0] == IGNORED, "something stands between the message and the first reply"


def test_every_process_has_the_same_model_and_samples():
    (model, adapter), (other, _) = random_parts(TINY), random_parts(TINY)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert adapter.config.dropout == 0
    assert [b.example for b in random_branches(TINY)] == [b.example for b in random_branches(TINY)]
