import dataclasses

import pytest

from interlat.errors import InputError
from interlat.teams.team import Member, Team, words_heard

PLANNER = Member("planner", "{question}", speaks="latents")
JUDGER = Member("judger", "{question}", ("planner",))


def test_a_team_knows_its_members_and_who_listens_to_them():
    critic = Member("critic", "{question}", ("planner",), "latents")
    judger = dataclasses.replace(JUDGER, reads=("planner", "critic"))
    team = Team((PLANNER, critic, judger))
    assert team.answerer is judger and team.member("critic") is critic
    assert team.listeners("planner") == [critic, judger] and team.listeners("judger") == []


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((), "at least one member"),
        ((PLANNER, PLANNER, JUDGER), "two members are called planner"),
        ((JUDGER, PLANNER), "judger listens to planner, which is no member before it"),
        ((PLANNER, dataclasses.replace(JUDGER, reads=("planner", "planner"))), "listens to a member twice"),
        ((PLANNER,), "planner is the last member and thinks in latents"),
        ((PLANNER, dataclasses.replace(JUDGER, reads=())), "nobody listens to planner"),
        (
            (dataclasses.replace(PLANNER, speaks="text"), JUDGER),
            "the prompt of judger has no {messages}, so what planner writes would be lost",
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
        ({"speaks": "signs"}, "speaks of planner is 'signs', expected text or latents"),
        ({"hands_over": "some"}, "hands_over of planner is 'some'"),
        ({"latent_steps": -1}, "latent_steps of planner is -1"),
        ({"tolerance": -0.1}, "tolerance -0.1; give 0 or more"),
        ({"share": 1.5}, r"share of planner is 1.5 and layers \[\]; give a share from 0 to 1"),
        ({"layers": (1, 0)}, r"layers \[1, 0\]; give a share from 0 to 1 and layers from 1 on"),
    ],
)
def test_members_without_sense_are_refused(changes, reason):
    with pytest.raises(InputError, match=reason):
        dataclasses.replace(PLANNER, **changes)


def test_words_stand_under_the_name_of_who_wrote_them():
    assert words_heard([("planner", " look \n"), ("critic", "why?")]) == "[planner]\nlook\n\n[critic]\nwhy?"
    assert words_heard([]) == ""
