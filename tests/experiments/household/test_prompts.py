from interlat.environments.alfworld.game import Layout
from interlat.environments.alfworld.prompts import room_and_task
from interlat.experiments.household.evidence import Belief, Evidence
from interlat.experiments.household.prompts import actor_prompt, plan_text, scout_prompt

OPENING = "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in a room.\n\nYour task is to: clean a mug."


def belief(kind, place):
    return Belief(kind, (("today", place),), (place, "shelf 9"), (0.7, 0.3), place)


def layout(task_type, parent="fridge", toggle=""):
    return Layout(task_type, "mug", parent, toggle, ("fridge 2", "fridge 1", "sinkbasin 1", "shelf 1"), frozenset(), {})


def test_prompts_leave_the_welcome_line_out():
    assert room_and_task(OPENING) == "You are in a room.\nYour task is to: clean a mug."
    assert actor_prompt(OPENING).endswith("clean a mug.\n")
    assert "mug: today shelf 1." in scout_prompt(OPENING, "mug: today shelf 1.")


def test_actor_prompt_holds_no_evidence():
    assert "today" not in actor_prompt(OPENING)


def test_plan_of_a_clean_task():
    evidence = Evidence((belief("mug", "shelf 1"),), ("shelf 3",))
    plan = plan_text(layout("pick_clean_then_place_in_recep"), evidence, [["shelf 1"]])
    assert plan == "find mug at shelf 1.\nclean with sinkbasin 1.\nput in fridge 1.\nnot shelf 3."


def test_plan_of_two_objects_and_of_a_list():
    evidence = Evidence((belief("mug", "shelf 1"), belief("mug", "shelf 2")), ())
    plan = plan_text(layout("pick_two_obj_and_place"), evidence, [b.places for b in evidence.beliefs])
    assert plan.splitlines()[2] == "find another mug near shelf 2, shelf 9."


def test_plan_of_a_look_task_uses_the_lamp():
    evidence = Evidence((belief("mug", "shelf 1"), belief("desklamp", "shelf 2")), ())
    plan = plan_text(layout("look_at_obj_in_light", "", "desklamp"), evidence, [["shelf 1"], ["shelf 2"]])
    assert plan == "find mug at shelf 1.\nuse desklamp near shelf 2."


def test_plain_plans_are_sentences_with_the_same_places_in_the_same_order():
    evidence = Evidence((belief("mug", "shelf 1"),), ("shelf 3",))
    plan = plan_text(layout("pick_clean_then_place_in_recep"), evidence, [["shelf 1"]], "plain")
    assert plan == "Find the mug at shelf 1.\nClean it with sinkbasin 1.\nPut it in fridge 1.\nDo not search shelf 3."
    two = Evidence((belief("mug", "shelf 1"), belief("mug", "shelf 2")), ())
    plan = plan_text(layout("pick_two_obj_and_place"), two, [b.places for b in two.beliefs], "plain")
    assert plan.splitlines()[2] == "Find the other mug near shelf 2, shelf 9."
    lamp = Evidence((belief("mug", "shelf 1"), belief("desklamp", "shelf 2")), ())
    plan = plan_text(layout("look_at_obj_in_light", "", "desklamp"), lamp, [["shelf 1"], ["shelf 2"]], "plain")
    assert plan == "Find the mug at shelf 1.\nUse the desklamp near shelf 2."
