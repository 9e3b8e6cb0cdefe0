"""A corpus of another package: added by its name, named in a configuration, trained with."""

import dataclasses

import pytest

from interlat.agents.settings import AgentSettings
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.store.reading import LatentStore
from interlat.training.actor import train_actor
from interlat.training.corpus import CORPORA, Corpus, CorpusSource
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
