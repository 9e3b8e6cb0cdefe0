import itertools
import random
import re
from collections import Counter

import pytest

from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.textcraft.recipes import Ingredient, Recipe, RecipeBook
from interlat.environments.textcraft.world import (
    DISTRACTORS,
    FEWEST_STEPS,
    TextCraftEpisode,
    TextCraftWorld,
    follows,
    plan,
    task_text,
)
from interlat.errors import InputError


@pytest.fixture(scope="module")
def world():
    return TextCraftWorld(EnvironmentOptions(("bundled",)))


def table():
    """A table of two boards (of a log) and four nails (of a bar); a stool of boards and a nail is beside it."""

    def made(item, count, **needed):
        groups = {"boards": ("ash boards", "elm boards")}
        parts = (Ingredient(name, number, groups.get(name, (name,))) for name, number in needed.items())
        return Recipe(item, count, tuple(sorted(parts)))

    return RecipeBook(
        [
            made("ash boards", 4, **{"ash log": 1}),
            made("elm boards", 4, **{"elm log": 1}),
            made("nail", 3, bar=1),
            made("table", 1, boards=2, nail=4),
            made("stool", 1, boards=1, nail=1),
        ]
    )


def test_every_bundled_goal_is_solved_by_its_plan_and_nothing_raw_is_left(world):
    for item in world.items():
        actions, episode = world.expert(item.id), world.episode(item.id)
        assert episode.start().text.endswith(item.question)
        outcomes = [episode.step(action) for action in actions]
        last = outcomes[-1]
        assert [one.done for one in outcomes] == [False] * (len(actions) - 1) + [True], item.id
        assert (last.success, last.score, last.steps, last.facts) == (True, 1.0, len(actions), {"refused_actions": 0})
        held = episode.step("inventory").text
        assert not [name for count, name in re.findall(r"(\d+) ([^,.]+)", held) if world.book.is_raw(name)]
        assert item.facts == {"depth": world.book.depth[item.family[1]], "expert_steps": len(actions)}
        assert item.max_steps >= FEWEST_STEPS and item.max_steps >= 2 * len(actions)


def test_a_plan_needs_no_recipe_but_those_that_are_shown(world):
    for item in world.items():
        shown = re.findall(r"^craft \d+ (.+) using (.+)$", item.question, re.MULTILINE)
        groups = dict(re.findall(r"^(.+): any one of (.+)$", item.question, re.MULTILINE))
        crafts = [one for one in world.expert(item.id) if one.startswith("craft")]
        for action in crafts:
            made, using = re.fullmatch(r"craft \d+ (.+) using (.+)", action).groups()
            [recipe] = [using for name, using in shown if name == made]
            for (count, name), (given, taken) in zip(split(recipe), split(using), strict=True):
                assert count == given and taken in groups.get(name, name).split(", ")
        needed = len(set(crafts))
        assert needed <= len(shown) <= needed + DISTRACTORS


def split(using):
    return [part.split(" ", 1) for part in using.split(", ")]


def test_the_plan_of_a_table():
    assert plan(table(), "table") == [
        "get 1 ash log", "get 2 bar", "craft 4 ash boards using 1 ash log",
        "craft 3 nail using 1 bar", "craft 3 nail using 1 bar", "craft 1 table using 2 ash boards, 4 nail",
    ]  # fmt: skip


def test_the_task_shows_what_is_needed_and_what_uses_the_same():
    text = task_text(table(), "table")
    assert sorted(text.splitlines()[1:5]) == [
        "craft 1 stool using 1 boards, 1 nail", "craft 1 table using 2 boards, 4 nail",
        "craft 3 nail using 1 bar", "craft 4 ash boards using 1 ash log",
    ]  # fmt: skip
    assert text.splitlines()[5:] == ["boards: any one of ash boards, elm boards", "", "Goal: craft table."]
    assert text == task_text(table(), "table")


def test_actions_refusals_and_what_they_change():
    episode = TextCraftEpisode(table(), "table", "")
    refused, held = 0, Counter()
    for action, is_refused, change in (
        ("get 1 ash log", False, {"ash log": 1}),
        ("get 1 nail", True, {}),  # must be crafted
        ("get 1 boards", True, {}),  # a group
        ("get 1 gold", True, {}),
        ("get 0 bar", True, {}),
        ("get bar", True, {}),
        ("dance", True, {}),
        ("", True, {}),
        ("Inventory.", False, {}),
        ("GET 2  bar", False, {"bar": 2}),
        ("craft 4 elm boards using 1 ash log", True, {}),
        ("craft 4 ash boards using 2 ash log", True, {}),  # another count
        ("craft 4 ash boards using ash log", True, {}),
        ("craft 9 ash boards using 1 ash log", False, {"ash log": -1, "ash boards": 4}),  # the count made is free
        ("craft nail using 1 bar", False, {"bar": -1, "nail": 3}),
        ("craft 1 table using 2 ash boards, 4 nail", True, {}),  # too few nails
        ("craft 1 stool using 1 elm boards, 1 nail", True, {}),  # none of this member
        ("craft 1 stool using 1 boards, 1 nail", True, {}),  # a group is no item
        ("craft 1 stool using 1 nail, 1 ash boards", False, {"nail": -1, "ash boards": -1, "stool": 1}),
        ("craft 3 nail using 1 bar", False, {"bar": -1, "nail": 3}),
    ):
        outcome = episode.step(action)
        refused += is_refused
        held.update(change)
        assert outcome.facts == {"refused_actions": refused} and not outcome.done and outcome.score == 0.0, action
        assert episode._held == +held, action
    won = episode.step("craft 1 table using 2 ash boards, 4 nail")
    assert (won.success, won.done, won.score, won.steps) == (True, True, 1.0, 21)


def test_an_ingredient_that_is_named_twice_is_needed_twice():
    two = Recipe("pair", 1, (Ingredient("any", 1, ("a", "b")), Ingredient("any other", 1, ("a", "c"))))
    episode = TextCraftEpisode(RecipeBook([two]), "pair", "")
    episode.step("get 1 a")
    assert episode.step("craft 1 pair using 1 a, 1 a").facts == {"refused_actions": 1}
    episode.step("get 1 a")
    assert episode.step("craft 1 pair using 1 a, 1 a").success and not episode._held["a"]


def test_following_a_recipe_is_as_trying_every_order():
    draw = random.Random(0)
    names, answers = "abcd", Counter()
    for _ in range(500):
        parts = [
            Ingredient(f"g{n}", draw.randint(1, 2), tuple(sorted(draw.sample(names, draw.randint(1, 3)))))
            for n in range(draw.randint(1, 3))
        ]
        given = [(draw.randint(1, 2), draw.choice(names)) for _ in range(draw.randint(0, 3))]
        fits = len(given) == len(parts) and any(
            all(count == one.count and name in one.members for one, (count, name) in zip(parts, order, strict=True))
            for order in itertools.permutations(given)
        )
        assert follows(Recipe("x", 1, tuple(parts)), given) == fits
        answers[fits] += 1
    assert min(answers.values()) > 20


def test_goals_are_deep_named_once_and_held_out_whatever_else_there_is(world):
    items = world.items()
    assert len({item.id for item in items}) == len(items) == 63
    assert {item.facts["depth"] for item in items} == {2, 3, 4, 5} and items[0].id == "textcraft/awl"
    assert Counter(item.split for item in items) == {"train": 44, "test": 19}
    some = TextCraftWorld(EnvironmentOptions(("bundled",), split="test", limit=5)).items()
    assert len(some) == 5 and all(item in items and item.split == "test" for item in some)


def test_a_shallow_book_has_no_goals(tmp_path):
    path = tmp_path / "shallow.json"
    path.write_text('{"recipes": [{"item": "nail", "ingredients": {"bar": 1}}]}')
    with pytest.raises(InputError, match=r"shallow\.json"):
        TextCraftWorld(EnvironmentOptions((str(path),)))
