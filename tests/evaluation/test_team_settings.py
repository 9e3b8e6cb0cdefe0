"""Hashes of older results; what else the settings decide is tested in test_teams.py."""

import dataclasses

import pytest

from interlat import bundled
from interlat.config import from_mapping
from interlat.errors import InputError
from interlat.evaluation.team_settings import EvaluateTeams
from interlat.tasks.sources import TaskSource
from interlat.teams.team import Member
from interlat.teams.topologies import TeamOptions

OLD = {
    "model": "scout",
    "output": "run",
    "task": {"kind": "arithmetic"},
    "align": "vocabulary",
    "team": {"hands_over": "attention", "share": 0.25, "layers": [1, 2], "sampling": {"temperature": 0.5}},
}
MEMBERS = [
    {"name": "a", "prompt": "{question}", "speaks": "latents", "hands_over": "own", "share": 0.75},
    {"name": "b", "prompt": "{question}", "reads": ["a"], "template": {"enable_thinking": False}},
]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "3168489ec913"), ({"members": MEMBERS, "variants": ["team"]}, "55b04c274b7c")],
)
def test_configurations_with_older_names_keep_their_hash(changes, expected):
    """The digits are what commit d276a7a computes of the same YAML."""
    fields = {**OLD, "model": bundled("alfworld-mini/scout"), **changes}
    config = from_mapping(EvaluateTeams, fields, "here")
    assert config.hash == expected
    new = dataclasses.replace(config, connector="identity", save_messages="elsewhere")
    assert new.hash != config.hash == dataclasses.replace(config, save_messages="elsewhere").hash


def test_the_new_names_have_the_hash_of_the_older_ones():
    task = TaskSource("arithmetic")
    old = from_mapping(
        EvaluateTeams, {"model": "m", "output": "o", "task": {"kind": "arithmetic"}, "align": "ridge"}, "x"
    )
    assert old == EvaluateTeams("m", "o", task, connector="ridge")
    assert old.hash == EvaluateTeams("m", "o", task, connector="ridge").hash


def config_of(**changes):
    return EvaluateTeams("m", "o", TaskSource("arithmetic"), **changes)


def test_layouts_and_ends_of_thoughts_change_the_hash_only_where_they_are_set():
    members = (Member("a", "{question}", output="latents"), Member("b", "{question}", ("a",)))
    own = {"variants": ("team",), "members": members}
    thinker = members[0]
    hashes = {
        config_of(**changes).hash
        for changes in (
            {},
            {"team": TeamOptions(layout="conversation")},
            {"team": TeamOptions(end_thought=True)},
            {"connector": "topk:k=3"},
            {"connector": "topk:k=4"},
            own,
            own | {"members": (dataclasses.replace(thinker, layout="conversation"), members[1])},
            own | {"members": (dataclasses.replace(thinker, end_thought=True), members[1])},
        )
    }
    assert len(hashes) == 8
    assert config_of(team=TeamOptions(layout="chained", end_thought=False)).hash == config_of().hash


def test_words_over_their_cache_are_a_variant_of_a_conversation():
    talking = TeamOptions(layout="conversation", cache_transfer="own", topology="review")
    config = config_of(variants=("text", "text_cache", "latent"), team=talking)
    text, cache, latent = map(config.team_of, config.variants)
    assert [m.prompt for m in text.members] == [m.prompt for m in cache.members] == [m.prompt for m in latent.members]
    assert [m.sends_words for m in text.members] == [True] * 3 and not text.cache_edges()
    assert [m.sends_cache for m in cache.members[:2]] == [True, True] and cache.final_agent.inputs == (
        "planner",
        "reviser",
    )
    assert all(member.output == "text" for member in cache.members)
    with pytest.raises(InputError, match="'text_cache' goes on in a conversation, but team"):
        config_of(variants=("text_cache",))


@pytest.mark.parametrize("connector", ["telepathy", "topk:k", "adaptr"])
def test_connectors_without_sense_are_refused(connector):
    with pytest.raises(InputError, match=f"connector is '{connector}'"):
        config_of(connector=connector)
