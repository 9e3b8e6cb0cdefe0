import pytest

from interlat.environments.actions import action_in


def test_the_action_is_behind_its_mark_or_the_first_line():
    assert action_in("Thought: a\nAction: go to shelf 1\nmore") == "go to shelf 1"
    assert action_in("\n open drawer 1 \nx") == "open drawer 1"
    assert action_in("") == ""


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("<think>\nAction: go to fridge 1\n</think>\n\nAction: take apple 1", "take apple 1"),
        ("go to fridge 1?\n</think>\ntake apple 1", "take apple 1"),
        ("<think>Action: go to fridge 1", ""),
    ],
)
def test_a_thought_is_no_action(reply, action):
    assert action_in(reply) == action
