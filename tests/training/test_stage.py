from dataclasses import dataclass

import pytest
import torch

from interlat.engine.distributed import Ranks
from interlat.training.stage import VALIDATION_PASS, mean_losses


@pytest.mark.parametrize("count", [1, VALIDATION_PASS, 2 * VALIDATION_PASS + 3])
def test_every_sample_counts_once(count):
    passes = []

    def objective(samples, totals):
        passes.append(len(samples))
        return torch.tensor(float(sum(samples))) / totals, {}

    samples = list(range(1, count + 1))
    assert mean_losses(objective, samples, count, Ranks())["loss"] == pytest.approx(sum(samples) / count)
    assert max(passes) <= VALIDATION_PASS and sum(passes) == count


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_take_equally_many_passes_and_add_up(world):
    """Two passes and a rest: with three ranks each takes one, with four one of them repeats the last for nothing."""
    samples, found, counts = list(range(2 * VALIDATION_PASS + 5)), [], []

    @dataclass(frozen=True)
    class OneOfMany(Ranks):
        def sum(self, values):
            found.append(values["loss"])
            return values

    for rank in range(world):
        passes = []

        def objective(part, totals, passes=passes):
            passes.append(len(part))
            return torch.tensor(float(len(part))), {}

        mean_losses(objective, samples, None, OneOfMany(rank=rank, world_size=world))
        counts.append(len(passes))
    assert sum(found) == len(samples) and len(set(counts)) == 1


def test_parts_of_the_loss_are_added_up_as_well():
    samples = list(range(VALIDATION_PASS + 3))

    def objective(part, totals):
        return torch.tensor(float(sum(part))), {"agreement": torch.tensor(float(len(part)))}

    found = mean_losses(objective, samples, None, Ranks())
    assert found == {"loss": float(sum(samples)), "agreement": float(len(samples))}
