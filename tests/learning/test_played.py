"""Played games as conversations: every command labelled, none imitated, each with the thought that its sender had."""

import pytest

from interlat.agents.episodes import read_episodes
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.learning.examples import IGNORED, actor_example
from interlat.learning.played import played_examples


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
