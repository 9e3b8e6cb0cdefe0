import dataclasses
import random

import pytest

from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.training.messages import StoredMessages


@pytest.fixture(scope="module")
def sampled(pipeline, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("sampled") / "store")
    source = TaskSource("alfworld", str(pipeline.episodes))
    sampling = Sampling(temperature=1.0, max_new_tokens=12)
    list(collect_thoughts(CollectThoughts(str(pipeline.scout), source, output, sampling=sampling, batch_size=6)))
    return output


def test_messages_are_those_of_the_item(pipeline, sampled):
    messages = StoredMessages([str(pipeline.thoughts), sampled])
    stores = [LatentStore.open(pipeline.thoughts), LatentStore.open(sampled)]
    seen = [set(), set()]
    for item in stores[0].ids:
        assert len(messages.states(item)) == len(stores[0].entry(item).token_ids)
        for seed in range(10):
            text = messages.text(item, random.Random(seed))
            for store, texts in zip(stores, seen, strict=True):
                if text == store.entry(item).plan:
                    texts.add(item)
    assert seen[0] == seen[1] == set(stores[0].ids)


def test_stores_that_do_not_fit_are_named(pipeline, sampled, tmp_path):
    with pytest.raises(InputError, match="no stores"):
        StoredMessages([])
    source = TaskSource("alfworld", str(pipeline.episodes))
    short = Sampling(max_new_tokens=4)
    few = CollectThoughts(str(pipeline.scout), source, str(tmp_path / "few"), sampling=short, limit=2)
    list(collect_thoughts(few))
    with pytest.raises(InputError, match="has no thought about"):
        StoredMessages([sampled, few.output])
    both = dataclasses.replace(few, output=str(tmp_path / "both"), layers=(-1, 1), norm="pre")
    with pytest.raises(InputError, match="of a model of 1 layers"):
        list(collect_thoughts(both))
