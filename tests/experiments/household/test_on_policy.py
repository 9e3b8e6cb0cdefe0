"""Played games as conversations: every command labelled, none imitated, each with the thought that its sender had."""

import pytest

from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.examples import actor_example
from interlat.experiments.household.on_policy import expert_advice, played_examples
from interlat.training.examples import IGNORED


@pytest.fixture(scope="module")
def chat(pipeline):
    return ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))


@pytest.fixture(scope="module")
def records(pipeline):
    return [record for record in read_episodes(pipeline.episodes) if record["episodes"]]


def line_of(record, draw=0):
    """The expert's own game of one draw, as a result of an evaluation."""
    episode = record["episodes"][draw]
    turns = [{"action": command, "observation": observation} for command, observation, _ in episode["turns"]]
    return {"item": record["item"], "evidence": episode["evidence"], "turns": turns}


def test_a_game_is_read_as_an_episode_of_which_nothing_is_imitated(records, chat):
    line = line_of(records[0], draw=1)
    line["turns"][0]["action"] = "go to nowhere 1"
    (example,) = played_examples([line], records, chat)
    turns = [(turn["action"], turn["observation"], True) for turn in line["turns"]]
    expected = actor_example(records[0], {**records[0]["episodes"][1], "turns": turns}, chat)
    assert (example.before, example.after, example.labels) == (expected.before, expected.after, expected.labels)
    assert example.item == f"{records[0]['item']}#1"
    assert len(example.weights) == len(example.after) and example.label_weight == 0
    said = chat.tokenizer.decode([label for label in example.labels if label != IGNORED])
    assert all(turn["action"] in said for turn in line["turns"])


def test_games_follow_the_order_of_the_records_and_others_are_left_out(records, chat):
    lines = [line_of(record, draw) for draw in (1, 0) for record in reversed(records)]
    examples = played_examples(lines, records[:3], chat)
    assert [e.item for e in examples] == [f"{r['item']}#{draw}" for r in records[:3] for draw in (1, 0)]


@pytest.mark.parametrize("change", [{"evidence": "mug: today shelf 1."}, {"evidence": None}])
def test_evidence_that_no_thought_is_about_is_an_error(records, chat, change):
    line = {key: value for key, value in {**line_of(records[0]), **change}.items() if value is not None}
    with pytest.raises(InputError, match="evidence that no thought is about"):
        played_examples([line], records, chat)


def test_the_expert_advises_itself_what_it_did(records):
    for record in records:
        episode = record["episodes"][0]
        advice = expert_advice(record, episode, episode["turns"])
        imitated = [command if good else None for command, _, good in episode["turns"]]
        assert all(good is None or good == said for good, said in zip(imitated, advice, strict=True))
        assert None not in advice


def test_the_next_best_place_is_advised_wherever_the_player_went(records):
    record = next(r for r in records if len(r["episodes"][0]["beliefs"][0]["places"]) > 3)
    episode = record["episodes"][0]
    best = episode["beliefs"][0]["places"]
    nowhere = "On it, you see nothing."
    turns = [
        (f"go to {best[2]}", f"You arrive at {best[2]}. {nowhere}", True),
        (f"go to {best[2]}", "Nothing happens.", True),
        (f"go to {best[0]}", f"You arrive at {best[0]}. {nowhere}", True),
        ("look", nowhere, True),
    ]
    record = {**record, "layout": {**record["layout"], "openable": []}}
    assert expert_advice(record, episode, turns) == [f"go to {best[place]}" for place in (0, 0, 0, 1)]


def test_nothing_is_advised_to_who_left_the_task(records):
    record = records[0]
    episode = record["episodes"][0]
    place = record["layout"]["receptacles"][0]
    wrong = (f"take nonsense 1 from {place}", f"You pick up the nonsense 1 from the {place}.", True)
    refused = (wrong[0], "Nothing happens.", True)
    assert None not in expert_advice(record, episode, [refused, *episode["turns"]])
    advice = expert_advice(record, episode, [wrong, *episode["turns"]])
    assert advice[0] == episode["turns"][0][0] and set(advice[1:]) == {None}


def test_corrected_games_weigh_what_the_expert_would_have_done(records, chat):
    record = records[0]
    line = line_of(record)
    (imitated,) = played_examples([line], records, chat, search_weight=4.0, dagger=True)
    expected = actor_example(
        record,
        {**record["episodes"][0], "turns": [(c, o, True) for c, o, _ in record["episodes"][0]["turns"]]},
        chat,
        4.0,
        expert_advice(record, record["episodes"][0], record["episodes"][0]["turns"]),
    )
    assert imitated == expected and imitated.label_weight > 0
    line["turns"][0]["action"] = "go to nowhere 1"
    (corrected,) = played_examples([line], records, chat, search_weight=4.0, dagger=True)
    learned = [
        label for label, weight in zip(corrected.labels, corrected.weights, strict=True) if label != IGNORED and weight
    ]
    assert chat.tokenizer.decode(learned).startswith(record["episodes"][0]["turns"][0][0])
    assert "nowhere" not in chat.tokenizer.decode(learned)


def test_nothing_is_advised_to_who_put_it_down_elsewhere(records):
    record = next(r for r in records if r["layout"]["parent_type"])
    episode = record["episodes"][0]
    taken = next(n for n, (command, *_) in enumerate(episode["turns"]) if command.startswith("take "))
    name = episode["turns"][taken][0].removeprefix("take ").partition(" from ")[0]
    goal = record["layout"]["parent_type"]
    place = next(p for p in record["layout"]["receptacles"] if p.rsplit(" ", 1)[0] != goal)
    wrong = (f"move {name} to {place}", f"You move the {name} to the {place}.", True)
    advice = expert_advice(record, episode, [*episode["turns"][: taken + 1], wrong, *episode["turns"][taken + 1 :]])
    assert None not in advice[: taken + 2]
    assert set(advice[taken + 2 :]) == {None}
