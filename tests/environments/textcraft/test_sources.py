import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from interlat.environments.textcraft import sources
from interlat.environments.textcraft.recipes import Ingredient, Recipe
from interlat.environments.textcraft.sources import BUNDLED_FILE, grouped, load_book, minecraft_book
from interlat.environments.textcraft.world import SHALLOWEST, TextCraftEpisode, plan
from interlat.errors import InputError, WorldError


def stick(name, count=2, **others):
    parts = {name: count, **others}
    return Recipe("stick", 4, tuple(sorted(Ingredient(one, number, (one,)) for one, number in parts.items())))


def test_three_alternatives_become_a_group_named_by_what_they_share():
    boards = ("red oak boards", "white oak boards", "old oak boards")
    [recipe] = grouped([stick(name, nail=1) for name in boards], {*boards})
    assert recipe == Recipe(
        "stick", 4, (Ingredient("nail", 1, ("nail",)), Ingredient("oak boards", 2, tuple(sorted(boards))))
    )
    [recipe] = grouped([stick(name) for name in boards], {*boards, "oak boards"})
    assert [one.name for one in recipe.ingredients] == ["any oak boards"]


def test_what_differs_in_more_than_a_name_stays_as_it_is():
    two = [stick("ash boards"), stick("elm boards")]
    assert grouped(two, set()) == two
    counts = [stick("ash boards", 1), stick("elm boards", 2), stick("oak boards", 3)]
    assert grouped(counts, set()) == sorted(counts)
    words = [stick("ash boards"), stick("elm twig"), stick("oak root")]
    assert grouped(words, set()) == sorted(words)


def test_two_places_of_a_group_each_become_one():
    names = [f"{colour} wool" for colour in ("red", "blue", "green")]
    dyes = [f"{colour} dye" for colour in ("red", "blue", "green")]
    [recipe] = grouped([stick(wool, **{dye: 1}) for wool in names for dye in dyes], set())
    assert [(one.name, one.count, len(one.members)) for one in recipe.ingredients] == [("dye", 1, 3), ("wool", 2, 3)]


def test_the_bundled_recipes_are_what_the_script_writes():
    path = Path(__file__).parents[3] / "scripts" / "make_textcraft.py"
    spec = importlib.util.spec_from_file_location("make_textcraft", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert BUNDLED_FILE.read_text() == script.text()
    book, origin = load_book(("bundled",))
    assert origin == {"data": "bundled", "sha256": book.digest} and len(book.depth) == len(book.items) == 105
    assert book.recipes["cobalt grain"] and book.is_raw("cobalt ingot")


def test_a_file_is_read_and_what_is_none_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"recipes": [{"item": "nail", "count": 8, "ingredients": {"bar": 1}}]}))
    book, origin = load_book((str(path),))
    assert book.items == {"nail", "bar"} and origin == {"data": str(path), "sha256": book.digest}
    path.write_text("{")
    with pytest.raises(InputError, match=r"mine\.json"):
        load_book((str(path),))
    with pytest.raises(InputError, match="nowhere"):
        load_book(("nowhere",))
    with pytest.raises(InputError, match="data is"):
        load_book(("bundled", "bundled"))


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(WorldError, match=r"minecraft-data.*pip install"):
        load_book(())


def test_the_recipes_of_minecraft_and_a_plan_for_every_goal():
    pytest.importorskip("minecraft_data")
    book = minecraft_book()
    assert len(book.recipes) == 547 and book.depth == {**book.depth, "oak log": 0, "oak planks": 1, "stick": 1}
    assert Counter(book.depth.values()) == {0: 428, 1: 152, 2: 272, 3: 112, 4: 11}
    [slab] = book.recipes["dark oak slab"]
    assert slab.text == "craft 6 dark oak slab using 3 dark oak planks"
    [planks] = book.best("crafting table").ingredients
    assert (planks.name, planks.count, len(planks.members)) == ("planks", 4, 8)
    # Storage goes one way: blocks are made of ingots.
    assert book.is_raw("gold ingot") and book.depth["gold block"] == 1 and book.depth["gold nugget"] == 1
    goals = [item for item, depth in book.depth.items() if depth >= SHALLOWEST]
    assert len(goals) == 395
    for goal in goals:
        episode = TextCraftEpisode(book, goal, "")
        outcomes = [episode.step(action) for action in plan(book, goal)]
        assert [one.success for one in outcomes] == [False] * (len(outcomes) - 1) + [True], goal
