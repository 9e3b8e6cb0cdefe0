import random

import pytest

from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.household.corpus import (
    HOUSEHOLD,
    believed_plan,
    household_corpus,
    in_validation_order,
    stored_episodes,
)
from interlat.experiments.household.episodes import read_episodes
from interlat.store.reading import LatentStore
from interlat.training.corpus import CORPORA


@pytest.fixture(scope="module")
def chat(pipeline):
    return ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))


@pytest.fixture(scope="module")
def records(pipeline):
    return read_episodes(pipeline.episodes)


def test_no_game_is_both_learned_and_held_out(records, chat):
    corpus = household_corpus(records, chat, validation_share=0.2)
    learned, held_out = ({corpus.task_of[e.item] for e in part} for part in (corpus.training, corpus.validation))
    games = {record["item"] for record in records if record["episodes"]}
    assert learned | held_out == games and not learned & held_out
    assert len(held_out) == max(1, round(0.2 * len(games)))
    episodes = {f"{r['item']}#{e['draw']}" for r in records for e in r["episodes"]}
    assert {e.item for e in [*corpus.training, *corpus.validation]} == episodes


def test_the_order_of_holding_out_is_by_chance_and_always_the_same():
    games = list(range(20))
    assert in_validation_order(games) == in_validation_order(games) != games == sorted(in_validation_order(games))
    assert games == list(range(20))


def test_one_game_is_too_few(records, chat):
    one = next(record for record in records if record["episodes"])
    with pytest.raises(InputError, match="one is held out"):
        household_corpus([one], chat, validation_share=0.5)


def test_only_what_is_learned_weighs_where_to_go(records, chat):
    corpus = household_corpus(records, chat, validation_share=0.2, search_weight=6.0)
    assert max(w for e in corpus.training for w in e.weights) == 6.0
    assert max(w for e in corpus.validation for w in e.weights) == 1.0


def test_believed_plans_follow_the_belief_and_not_the_truth(records):
    """Over many draws the plan names the best place more often than its probability of being true."""
    best = drawn = 0
    for record in records:
        for episode in record["episodes"]:
            for seed in range(20):
                plan = believed_plan(record, episode, random.Random(seed))
                best += f" at {episode['beliefs'][0]['places'][0]}." in plan
                drawn += 1
    assert 0.85 < best / drawn < 1


def test_direct_plans_name_the_true_places(records):
    for record in records:
        for episode in record["episodes"]:
            assert believed_plan(record, {**episode, "direct": True}, random.Random(0)) == episode["plan"]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_direct_episodes_is_the_one_asked_for(records, chat, share):
    """A direct episode is one whose written plan is always the true one."""
    corpus = household_corpus(records, chat, validation_share=0.2, direct_share=share)
    truth = {f"{r['item']}#{e['draw']}": e["plan"] for r in records for e in r["episodes"]}
    plans = [{corpus.written_plan(e, random.Random(seed)) for seed in range(12)} for e in corpus.training]
    direct = [found == {truth[e.item]} for found, e in zip(plans, corpus.training, strict=True)]
    plain = household_corpus(records, chat, validation_share=0.2)
    lengths = {e.item: len(e.after) for e in plain.training}
    shorter = [len(e.after) < lengths[e.item] for e in corpus.training]
    if share == 0:
        assert not any(shorter)
    else:
        assert sum(direct) / len(direct) >= share - 0.05 and any(shorter)
    expected = round(len(plain.training) / (1 - share)) if share < 1 else None
    assert expected is None or len(corpus.training) == pytest.approx(expected, abs=1)


def test_without_direct_episodes_the_share_is_an_error(records, chat):
    games = [record for record in records if record["episodes"]]
    stumbled = [
        {**r, "episodes": [{**r["episodes"][0], "turns": [["go to shelf 1", "Nothing happens.", False]]}]}
        for r in games
    ]
    with pytest.raises(InputError, match="direct_share"):
        household_corpus(stumbled, chat, validation_share=0.2, direct_share=0.5)


def test_episodes_come_back_as_they_were(pipeline):
    episodes = stored_episodes(LatentStore.open(pipeline.thoughts))
    assert episodes == [record for record in read_episodes(pipeline.episodes) if record["episodes"]]


def test_the_experiment_is_a_corpus_by_its_entry_point():
    assert CORPORA["household"] is HOUSEHOLD and HOUSEHOLD.has_games
    assert "household" in CORPORA.names()
