import dataclasses

import pytest

from interlat.agents.loading import load
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.household.corpus import HOUSEHOLD, household_corpus, stored_episodes
from interlat.store.reading import LatentStore
from interlat.training.pairs import draw_pairs, preference_data
from interlat.training.trajectories import Trajectory


def trajectory(thought, attempt, won, store="s"):
    item = thought.rsplit("#", 1)[0]
    turns = ((f"go to shelf {attempt}", "You see nothing."), ("take apple 1 from shelf 1", "You take it."))
    return Trajectory(thought, attempt, item, won, 2, 5, turns, attempt, "a", store, {})


@pytest.fixture(scope="module")
def store(pipeline):
    return LatentStore.open(pipeline.thoughts)


@pytest.fixture(scope="module")
def played(store):
    """Three attempts with every thought: two are won with the even ones, one with the odd ones."""
    made = []
    for number, thought in enumerate(store.ids):
        ends = (True, True, False) if number % 2 == 0 else (False, True, False)
        made += [trajectory(thought, n, won, store.manifest.fingerprint) for n, won in enumerate(ends)]
    return made


def data(played, store, **changes):
    settings = {"per_thought": 2, "validation_share": 0.3, "seed": 0} | changes
    return preference_data(played, store, HOUSEHOLD, **settings)


def test_pairs_never_mix_thoughts_and_are_won_before_lost():
    """Two thoughts about one game are two messages, so their attempts are not compared either."""
    made = [trajectory(f"house#{n % 3}", n, n % 4 != 0) for n in range(24)]
    made += [trajectory("garden#0", n, True) for n in range(4)] + [trajectory("cellar#0", n, False) for n in range(4)]
    pairs = draw_pairs(made, 3, 0)
    assert len(pairs) == 9 and {pair.won.id for pair in pairs} == {"house#0", "house#1", "house#2"}
    for pair in pairs:
        assert pair.won.id == pair.lost.id and pair.won.won and not pair.lost.won
    assert len({(pair.won.key, pair.lost.key) for pair in pairs}) == len(pairs)


def test_as_many_pairs_as_there_are_and_no_more():
    made = [trajectory("a#0", 0, True), trajectory("a#0", 1, False), trajectory("a#0", 2, False)]
    assert {pair.lost.attempt for pair in draw_pairs(made, 5, 0)} == {1, 2}
    assert len(draw_pairs(made, 5, 0)) == 2 and len(draw_pairs(made, 1, 0)) == 1


def test_the_choice_is_by_chance_and_depends_on_the_thought_alone():
    made = [trajectory(f"t{t}#0", n, n % 2 == 0) for t in range(6) for n in range(8)]
    first = draw_pairs(made, 2, 0)
    assert draw_pairs(made[::-1], 2, 0) == first != draw_pairs(made, 2, 1)
    assert draw_pairs(made[:16], 2, 0) == first[:4]
    assert len({(pair.won.attempt, pair.lost.attempt) for pair in first}) > 3


def test_no_pairs_is_an_error_that_says_what_there_is():
    with pytest.raises(InputError, match=r"none of 2 thoughts .*\(3 trajectories, 2 won\)"):
        draw_pairs([trajectory("a#0", 0, True), trajectory("a#0", 1, True), trajectory("b#0", 0, False)], 2, 0)


def test_no_game_is_both_learned_and_held_out(store, played):
    found = data(played, store)
    learned, held_out = ({pair.won.item for pair in part} for part in (found.training, found.validation))
    games = {one.item for one in played}
    assert learned | held_out == games and not learned & held_out and len(held_out) == max(1, round(0.3 * len(games)))
    assert f"{len(played)} trajectories" in found.counts and f"{len(found.training)} to learn" in found.counts


def test_what_the_actor_did_not_learn_is_held_out_first(pipeline, store, played):
    chat = ChatFormat(load_tokenizer(str(pipeline.scout)))
    for share in (0.1, 0.3, 0.5):
        actor = household_corpus(stored_episodes(store), chat, validation_share=share)
        held_out = {pair.won.item for pair in data(played, store, validation_share=share).validation}
        assert held_out == {actor.task_of[example.item] for example in actor.validation}


def test_data_that_do_not_go_together_are_refused(store, played):
    with pytest.raises(InputError, match="other thoughts"):
        data([dataclasses.replace(played[0], store="another"), *played[1:]], store)
    with pytest.raises(InputError, match="one game"):
        data([one for one in played if one.item == played[0].item], store)
    with pytest.raises(InputError, match="nothing to learn"):
        data(played, store, validation_share=0.99)


def test_an_actor_learns_its_commands_and_the_ends_of_its_turns(pipeline, store, played):
    agent = load(pipeline.actors["latent"], dtype="float32")
    one = dataclasses.replace(played[4], turns=(("go to shelf 1", "You see it."), ("", "Nothing happens.")))
    example = HOUSEHOLD.trajectory(store.entry(one.id).metadata, one.turns, agent.engine.chat)
    learned = [token for token in example.labels if token != -100]
    end = agent.engine.tokenizer.eos_token
    assert agent.engine.tokenizer.decode(learned) == f"go to shelf 1{end}{end}"
    assert set(example.weights) == {1.0} and example.item == one.id
