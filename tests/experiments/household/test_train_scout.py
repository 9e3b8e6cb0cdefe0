import math
import random

import pytest

from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.train_scout import draw_example, expected_place_loss, scenes_of


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


def test_the_least_place_loss_is_the_entropy_of_the_posterior():
    record = {"episodes": [{"beliefs": [{"probabilities": [0.5, 0.5]}, {"probabilities": [1.0]}]}]}
    assert expected_place_loss([record]) == pytest.approx(math.log(2) / 2)


def test_floor_of_real_evidence_is_below_the_uniform_guess(pipeline):
    records = read_episodes(pipeline.episodes)
    assert 0.5 < expected_place_loss(records) < math.log(5)
