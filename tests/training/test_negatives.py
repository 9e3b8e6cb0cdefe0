import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interlat.training.negatives import Negatives, as_long_as

from interlat.errors import InputError


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=20).filter(lambda t: len(set(t)) > 1), st.integers(0, 9))
def test_nobody_gets_a_message_of_its_own_task(tasks, seed):
    task_of = {str(number): task for number, task in enumerate(tasks)}
    negatives, rng = Negatives(list(task_of), task_of), random.Random(seed)
    for item, task in task_of.items():
        assert task_of[negatives.of(item, rng)] != task


def test_every_sample_of_another_task_is_as_likely():
    negatives, rng = Negatives("01234", dict(zip("01234", "aabcc", strict=True))), random.Random(0)
    drawn = Counter(negatives.of("1", rng) for _ in range(3000))
    assert set(drawn) == {"2", "3", "4"} and min(drawn.values()) > 900


@pytest.mark.parametrize("tasks", [[], ["a"], ["a", "a"]])
def test_one_task_has_no_negatives(tasks):
    with pytest.raises(InputError, match="one task"):
        Negatives([str(number) for number in range(len(tasks))], dict(enumerate(tasks)) | {"0": "a", "1": "a"})


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_length_is_matched_without_noise(rows):
    message = torch.arange(6.0).reshape(3, 2)
    matched = as_long_as(message, rows)
    assert matched.tolist() == [message[row % 3].tolist() for row in range(rows)]
