import dataclasses

import pytest
import torch

from interlat.agents.agent import Agent
from interlat.agents.loading import load
from interlat.agents.settings import AgentSettings
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.experiments.household.corpus import HOUSEHOLD, household_corpus, stored_episodes
from interlat.files import append_line
from interlat.store.reading import LatentStore
from interlat.training.trajectories import (
    TRAJECTORIES_FILE,
    Trajectory,
    actor_fingerprint,
    check_reader,
    draw_pairs,
    preference_data,
    read_trajectories,
    stored_message,
)


@pytest.fixture(scope="module")
def store(pipeline):
    return LatentStore.open(pipeline.thoughts)


@pytest.fixture(scope="module")
def agents(pipeline):
    return {kind: load(folder, dtype="float32") for kind, folder in pipeline.actors.items()}


TRAJECTORY = Trajectory(
    id="house/1#0",
    attempt=2,
    item="house/1",
    won=True,
    steps=1,
    max_steps=5,
    turns=(("go to shelf 1", "You arrive at shelf 1.\nOn it, you see nothing."),),
    seed=2**62 + 1,
    actor="a",
    store="s",
    settings={"temperature": 0.7},
)


def test_a_trajectory_comes_back_as_it_was_and_counts_once(tmp_path):
    assert read_trajectories(tmp_path) == []
    other = dataclasses.replace(TRAJECTORY, attempt=3, won=False)
    for one in (TRAJECTORY, other, TRAJECTORY):
        append_line(tmp_path / TRAJECTORIES_FILE, one.record)
    assert read_trajectories(tmp_path) == [TRAJECTORY, other]


def test_a_torn_line_is_no_trajectory_and_a_foreign_one_is_refused(tmp_path):
    path = tmp_path / TRAJECTORIES_FILE
    append_line(path, TRAJECTORY.record)
    path.write_text(path.read_text() + '{"id": "house/1#0", "att')
    assert read_trajectories(tmp_path) == [TRAJECTORY]
    whole = path.read_text()
    for changes in ({"turns": 3}, {"turns": [["go"]]}, {"turns": ["ab"]}, {"won": "no"}, {"attempt": [2]}):
        path.write_text(whole)
        append_line(path, {**TRAJECTORY.record, "attempt": 9, **changes})
        with pytest.raises(InputError, match=f"{next(iter(changes))}.*new folder"):
            read_trajectories(tmp_path)
    path.write_text(whole)
    append_line(path, {"item": "house/1"})
    with pytest.raises(InputError, match="new folder"):
        read_trajectories(tmp_path)


def test_an_actor_is_known_by_all_that_it_is_made_of(agents):
    latent = agents["latent"]
    found = {kind: actor_fingerprint(agent) for kind, agent in agents.items()}
    assert len(set(found.values())) == 3
    assert actor_fingerprint(Agent(latent.engine, latent.adapter, latent.settings)) == found["latent"]
    without = dataclasses.replace(latent, adapter=None)
    reads_words = dataclasses.replace(latent, settings=AgentSettings(message_kind="text"))
    assert len({found["latent"], actor_fingerprint(without), actor_fingerprint(reads_words)}) == 3


def test_each_kind_of_actor_reads_its_own_kind(agents, store):
    thought = store.ids[3]
    assert stored_message(agents["none"], store, thought) is None
    assert stored_message(agents["text"], store, thought).text == store.entry(thought).plan
    rows = stored_message(agents["latent"], store, thought).hidden_states
    assert torch.equal(rows, store.hidden_states(thought)) and str(rows.dtype).endswith(store.manifest.dtype)


def test_an_actor_reads_no_thoughts(agents, store, monkeypatch):
    entry = dataclasses.replace(store.entry(0), plan="<think>the shelf?</think>\nfind apple")
    monkeypatch.setattr(LatentStore, "entry", lambda store, thought: entry)
    assert stored_message(agents["text"], store, entry.id).text == "find apple"


def test_what_cannot_be_read_is_refused(agents, store):
    for agent in agents.values():
        check_reader(agent, store)
    latent = agents["latent"]
    with pytest.raises(CheckpointError, match="no adapter"):
        check_reader(dataclasses.replace(latent, adapter=None), store)
    with pytest.raises(InputError, match="message_kind"):
        check_reader(dataclasses.replace(latent, settings=AgentSettings()), store)
    with pytest.raises(InputError, match="no thoughts"):
        check_reader(latent, store.select([]))
    foreign = store.select(range(len(store)))
    foreign.manifest = dataclasses.replace(store.manifest, weights_fingerprint="another")
    with pytest.raises(MessageError, match="does not fit"):
        check_reader(latent, foreign)
    foreign.manifest = dataclasses.replace(store.manifest, method="compressed")
    with pytest.raises(InputError, match="without words"):
        check_reader(agents["text"], foreign)


def trajectory(thought, attempt, won, store="s"):
    item = thought.rsplit("#", 1)[0]
    turns = ((f"go to shelf {attempt}", "You see nothing."), ("take apple 1 from shelf 1", "You take it."))
    return Trajectory(thought, attempt, item, won, 2, 5, turns, attempt, "a", store, {})


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
