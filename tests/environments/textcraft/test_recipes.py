import random

import pytest

from interlat.environments.textcraft.recipes import Ingredient, Recipe, RecipeBook, book_of, craft_command
from interlat.errors import InputError


def made(item, count=1, /, **needed):
    """A recipe; an ingredient is a count, or a count and the members of a group."""
    parts = []
    for name, value in needed.items():
        number, *members = (value,) if isinstance(value, int) else value
        parts.append(Ingredient(name, number, tuple(sorted(members)) or (name,)))
    return Recipe(item, count, tuple(sorted(parts)))


def slow_depth(book, item, above=()):
    """By exhaustive recursion over every recipe and every member; None where only circles lead to the item."""
    if item not in book.recipes:
        return 0
    found = []
    for recipe in book.recipes[item]:
        parts = []
        for ingredient in recipe.ingredients:
            known = [slow_depth(book, one, (*above, item)) for one in ingredient.members if one not in (*above, item)]
            parts.append(min((one for one in known if one is not None), default=None))
        if None not in parts:
            found.append(1 + max(parts))
    return min(found, default=None)


def drawn_book(seed):
    """Few items and many recipes, so that most books have circles, groups and several recipes of an item."""
    draw = random.Random(seed)
    items = [f"i{n}" for n in range(7)]
    recipes = []
    for _ in range(draw.randint(4, 12)):
        parts = {}
        for _ in range(draw.randint(1, 2)):
            members = draw.sample(items, draw.choice((1, 1, 3)))
            name = members[0] if len(members) == 1 else "any " + " ".join(sorted(members))
            parts[name] = (draw.randint(1, 3), *members)
        recipes.append(made(draw.choice(items), draw.randint(1, 4), **parts))
    return RecipeBook(recipes, items)


@pytest.mark.parametrize("seed", range(60))
def test_depths_are_those_of_an_exhaustive_search_and_nothing_is_left_in_a_circle(seed):
    book = drawn_book(seed)
    assert book.depth == {item: slow_depth(book, item) for item in book.items}
    for item in book.recipes:
        best = book.best(item)
        taken = [book.member(one) for one in best.ingredients]
        assert best in book.recipes[item] and max(book.depth[one] for one in taken) == book.depth[item] - 1
    assert all(book.is_raw(item) == (item not in book.recipes) for item in book.items)


def test_some_drawn_books_are_deep_and_some_lose_recipes():
    depths = [max(drawn_book(seed).depth.values()) for seed in range(60)]
    assert max(depths) >= 3 and min(depths) <= 1


def test_of_a_conversion_and_its_way_back_the_one_to_the_more_used_item_goes():
    there, back = made("nugget", 9, ingot=1), made("ingot", 1, nugget=9)
    lamp, sword = made("lamp", 1, ingot=2), made("sword", 1, ingot=3)
    book = RecipeBook([there, back, lamp, sword, made("ingot", 1, nugget=4)])
    assert book.recipes == {"lamp": [lamp], "nugget": [there], "sword": [sword]}
    assert book.is_raw("ingot") and book.depth == {"ingot": 0, "nugget": 1, "lamp": 1, "sword": 1}


def test_a_longer_circle_is_broken_at_what_most_recipes_use():
    first, second, third = made("a", 1, c=1, x=1), made("b", 1, a=1, x=1), made("c", 1, b=1, x=1)
    book = RecipeBook([first, second, third, made("d", 1, b=1), made("e", 1, b=2)])
    assert book.is_raw("b") and book.depth == {"b": 0, "x": 0, "c": 1, "d": 1, "e": 1, "a": 2}


def test_the_best_recipe_is_the_shallowest_and_then_the_one_with_the_fewest_ingredients():
    deep, wide, small = made("t", 1, m=1), made("t", 1, x=3, y=1), made("t", 2, x=2)
    book = RecipeBook([deep, wide, small, made("m", 1, x=1)])
    assert book.best("t") == small and book.depth["t"] == 1
    assert book.users["x"] == {"t", "m"} and "y" not in book.users


def test_commands_and_the_digest():
    recipe = made("door", 3, boards=(6, "oak boards", "ash boards"), nail=2)
    assert recipe.text == "craft 3 door using 6 boards, 2 nail"
    assert craft_command(recipe, ["ash boards", "nail"]) == "craft 3 door using 6 ash boards, 2 nail"
    assert [one.is_group for one in recipe.ingredients] == [True, False]
    digest = RecipeBook([recipe]).digest
    assert digest == RecipeBook([recipe, recipe]).digest != RecipeBook([made("door", 2, nail=2)]).digest


def test_a_file_of_recipes():
    book = book_of(
        {
            "groups": {"boards": ["oak boards", "ash boards"]},
            "recipes": [
                {"item": "door", "ingredients": {"boards": 6}},
                {"item": "nail", "count": 8, "ingredients": {"bar": 1}},
            ],
        },
        "here",
    )
    assert book.recipes == {
        "door": [made("door", 1, boards=(6, "oak boards", "ash boards"))],
        "nail": [made("nail", 8, bar=1)],
    }


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "recipes"),
        ({"recipes": []}, "recipes"),
        ({"recipes": [{"item": "a", "ingredients": {"b": 1}}], "groups": {"g": []}}, "group 'g'"),
        ({"recipes": [{"item": "a", "ingredients": {"b": 1}}], "groups": {"g": "bc"}}, "group 'g'"),
        ({"recipes": ["a"]}, "recipe 0 is 'a'"),
        ({"recipes": [{"item": "a", "ingredients": {}}]}, "recipe 0"),
        ({"recipes": [{"item": "a", "ingredients": {"b": 0}}]}, "recipe 0 of a"),
        ({"recipes": [{"item": "a", "count": "2", "ingredients": {"b": 1}}]}, "recipe 0 of a"),
        ({"recipes": [{"item": "Oak", "ingredients": {"b": 1}}]}, "recipe 0 of 'Oak'"),
        ({"recipes": [{"item": "a", "ingredients": {"b, c": 1}}]}, "recipe 0 of 'a'"),
        ({"recipes": [{"item": "a using b", "ingredients": {"b": 1}}]}, "recipe 0 of 'a using b'"),
        ({"recipes": [{"item": "a", "ingredients": {"b.": 1}}]}, "recipe 0 of 'a'"),
        ({"recipes": [{"item": "g", "ingredients": {"b": 1}}], "groups": {"g": ["a"]}}, "recipe 0 of 'g'"),
    ],
)
def test_what_is_no_file_of_recipes_is_refused_by_place_and_value(content, named):
    with pytest.raises(InputError, match=f"^here.*{named}"):
        book_of(content, "here")
