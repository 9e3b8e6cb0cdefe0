"""Hashes of older results; what else the settings decide is tested in test_teams.py."""

import dataclasses

import pytest

from interlat import bundled
from interlat.agents.sources import TaskSource
from interlat.config import from_mapping
from interlat.evaluation.team_settings import EvaluateTeams

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
