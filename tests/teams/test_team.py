import dataclasses

import pytest

from interlat.config import from_mapping
from interlat.errors import InputError
from interlat.teams.team import Member, Team, joined_messages

PLANNER = Member("planner", "{question}", output="latents")
JUDGER = Member("judger", "{question}", ("planner",))


def test_a_team_knows_its_members_and_the_edges_of_caches():
    critic = Member("critic", "{question}", ("planner",), "latents")
    judger = dataclasses.replace(JUDGER, inputs=("planner", "critic"))
    team = Team((PLANNER, critic, judger))
    assert team.final_agent is judger and team.member("critic") is critic
    assert team.cache_edges() == [(PLANNER, critic), (PLANNER, judger), (critic, judger)]
    silent = Team((dataclasses.replace(PLANNER, cache_transfer="nothing"), JUDGER))
    assert silent.cache_edges() == []


def test_older_names_of_fields_are_read():
    fields = {"name": "a", "prompt": "x", "reads": ["b"], "speaks": "latents", "hands_over": "own", "share": 0.25}
    expected = Member("a", "x", ("b",), "latents", cache_transfer="own", kept_fraction=0.25)
    assert from_mapping(Member, fields, "here") == expected
    with pytest.raises(InputError, match="'reads' is the older name of 'inputs'"):
        from_mapping(Member, {**fields, "inputs": ["b"]}, "here")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((), "at least one member"),
        ((PLANNER, PLANNER, JUDGER), "two members are called planner"),
        ((JUDGER, PLANNER), "planner, an input of judger, is no earlier member"),
        (
            (PLANNER, dataclasses.replace(JUDGER, inputs=("planner", "planner"))),
            "inputs of judger are planner, planner",
        ),
        ((PLANNER,), "output of planner, the final agent, is latents"),
        ((PLANNER, dataclasses.replace(JUDGER, inputs=())), "planner: the input of no member"),
        (
            (dataclasses.replace(PLANNER, output="text"), JUDGER),
            "the prompt of judger has no {messages}, so the text of planner would be lost",
        ),
    ],
)
def test_teams_without_sense_are_refused(members, reason):
    with pytest.raises(InputError, match=reason):
        Team(members)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "give it a name"),
        ({"name": "a/b"}, "without a slash"),
        ({"output": "signs"}, "output of planner is 'signs', expected text or latents"),
        ({"cache_transfer": "some"}, "cache_transfer of planner is 'some'"),
        ({"latent_steps": -1}, "latent_steps of planner is -1"),
        ({"tolerance": -0.1}, "tolerance of planner is -0.1"),
        ({"kept_fraction": 1.5}, "kept_fraction of planner is 1.5"),
        ({"layers": (1, 0)}, r"layers of planner is \(1, 0\)"),
    ],
)
def test_members_without_sense_are_refused(changes, reason):
    with pytest.raises(InputError, match=reason):
        dataclasses.replace(PLANNER, **changes)


def test_texts_stand_under_the_names_of_their_writers():
    assert joined_messages([("planner", " look \n"), ("critic", "why?")]) == "[planner]\nlook\n\n[critic]\nwhy?"
    assert joined_messages([]) == ""
