import pytest

from interlat.environments.alfworld.prompts import PROMPT_STYLES, observation_text, opening_text, room_and_task

OPENING = "-= Welcome to TextWorld, ALFRED! =-\n\nYou see a desk 1.\n\nYour task is to: put a mug in desk.\n"


def test_room_and_task_are_without_the_welcome():
    assert room_and_task(OPENING) == "You see a desk 1.\nYour task is to: put a mug in desk.\n"


def test_every_style_ends_with_the_task_and_task_is_the_task_alone():
    shown = {style: opening_text(style, "TASK", "put THING in/on PLACE") for style in PROMPT_STYLES}
    assert shown["task"] == "TASK" and all(text.endswith("TASK") for text in shown.values())
    assert all("\nput THING in/on PLACE\n" in shown[style] for style in ("react", "plan"))
    assert "Thought:" in shown["react"] and "Thought:" not in shown["plan"] and "plan" in shown["plan"]
    assert "\nmove THING to PLACE\n" in opening_text("react", "TASK", "move THING to PLACE")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("You arrive at loc 5. On the desk 1, you see a mug 1.", "On the desk 1, you see a mug 1."),
        (
            "You arrive at desk 1. On the desk 1, you see nothing.",
            "You arrive at desk 1. On the desk 1, you see nothing.",
        ),
        ("Nothing happens.", "Nothing happens."),
    ],
)
def test_the_number_of_a_place_to_stand_is_left_out_as_in_the_published_runs(text, shown):
    assert observation_text(text) == f"Observation: {shown}"


def test_commands_are_shown_where_they_are_given():
    assert observation_text("Seen.", ("go to desk 1", "look")) == "Observation: Seen.\nYou can: go to desk 1, look"
