"""A corpus of another package: added by its name, named in a configuration, trained with."""

import dataclasses
import random

import pytest

from interlat.agents.settings import AgentSettings
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.training.actor import train_actor
from interlat.training.corpus import CORPORA, Corpus, CorpusSource, StoredMessages
from interlat.training.examples import Example, ids_of
from interlat.training.options import Schedule, SmallModel
from interlat.training.settings import TrainActor


class Letters(CorpusSource):
    """Says after the place of the message which letter comes next; it needs no data."""

    def check(self, options):
        if options["search_weight"] != 3.0:
            raise InputError("letters are not searched")

    def load(self, options, chat, messages, length_of):
        before = (*ids_of("a", chat), *ids_of("<bop>", chat, literal=False))
        after = ids_of("go to", chat)
        made = [Example(before, after, after, (1.0,) * len(after), str(number)) for number in range(4)]
        return Corpus(made[:3], made[3:], {str(number): str(number) for number in range(4)}, counts="4 letters")


@pytest.fixture(scope="module")
def letters():
    if "letters" not in CORPORA:
        CORPORA.add("letters", Letters())
    return "letters"


def test_a_corpus_of_another_package_is_trained_with(letters, pipeline, tmp_path, capsys):
    shape = SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16)
    config = TrainActor(
        str(tmp_path / "actor"),
        corpus=letters,
        tokenizer=str(pipeline.root / "tokenizer"),
        model=shape,
        schedule=Schedule(steps=2, batch_size=2),
    )
    assert [step for step, _ in train_actor(config)] == [1, 2]
    assert "4 letters" in capsys.readouterr().err
    assert AgentSettings.beside(tmp_path / "actor" / "model").message_kind == "none"
    with pytest.raises(InputError, match="not searched"):
        dataclasses.replace(config, search_weight=2.0)
    with pytest.raises(InputError, match="episodes"):
        dataclasses.replace(config, episodes="x.jsonl")


def test_an_unknown_corpus_is_refused_with_those_there_are(pipeline):
    with pytest.raises(InputError, match=r"'nowhere'.*conversations.*household"):
        TrainActor("x", corpus="nowhere", tokenizer="t")


def test_what_a_corpus_does_not_have_is_refused(letters, pipeline):
    source, store = CORPORA[letters], LatentStore.open(pipeline.thoughts)
    chat = ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))
    for call in (
        lambda: source.on_policy({}, chat, None),
        lambda: source.held_out_order(store),
        lambda: source.trajectory({}, [], chat),
    ):
        with pytest.raises(InputError):
            call()


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
