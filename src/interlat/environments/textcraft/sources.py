"""Where recipes come from: the data of Minecraft in the package `minecraft-data`, our own small set, or a file."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

from interlat.environments.textcraft.recipes import Ingredient, Recipe, RecipeBook, book_of
from interlat.errors import InputError, WorldError
from interlat.tasks.reading import read_json

BUNDLED = "bundled"
"""As ``data``: the recipes that come with this package."""
BUNDLED_FILE = Path(__file__).parent / "recipes.json"
MINECRAFT = "1.16.4"
"""The version of Minecraft whose recipes are taken; another one has other items."""
_FEWEST_MEMBERS = 3


def load_book(data: tuple[str, ...]) -> tuple[RecipeBook, dict[str, Any]]:
    """The recipes and where they come from: `minecraft-data` where ``data`` is empty, ``bundled``, or a JSON file.

    Raises:
        InputError: more than one place, no such file, or no recipes in it.
        WorldError: `minecraft-data` is not installed.
    """
    if len(data) > 1:
        raise InputError(f"data is {list(data)}, expected one file of recipes, or {BUNDLED}")
    if not data:
        book, name = minecraft_book(), f"minecraft-data {version('minecraft-data')}, Minecraft {MINECRAFT}"
    else:
        path = BUNDLED_FILE if data[0] == BUNDLED else Path(data[0]).expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {path} of recipes; correct data, leave it out, or give {BUNDLED}")
        book, name = book_of(_object(path), str(path)), data[0]
    return book, {"data": name, "sha256": book.digest}


def _object(path: Path) -> dict[str, Any]:
    content = _json(path)
    return content if isinstance(content, dict) else {}


def _json(path: Path) -> Any:
    return read_json(path, "give a file of recipes")


def minecraft_book() -> RecipeBook:
    """The crafting recipes of Minecraft, with groups found again.

    The package lists every alternative of a recipe (a stick of oak planks, of birch planks, ...): three or more that
    differ in one ingredient, whose names end with the same word, become one recipe with a group named by that ending.

    Raises:
        WorldError: the package is not installed.
    """
    found = find_spec("minecraft_data")
    if found is None or not found.submodule_search_locations:
        raise WorldError(
            "TextCraft takes its recipes from the package minecraft-data, which is not installed: "
            f"pip install 'interlat[textcraft]'; or play our own small set, data {BUNDLED}"
        )
    folder = Path(found.submodule_search_locations[0]) / "data" / "data"
    places = _json(folder / "dataPaths.json")["pc"][MINECRAFT]
    listed = _json(folder / places["items"] / "items.json")
    names: dict[int, str] = {item["id"]: item["name"].replace("_", " ") for item in listed}
    made: defaultdict[str, list[Recipe]] = defaultdict(list)
    for recipes in _json(folder / places["recipes"] / "recipes.json").values():
        for recipe in recipes:
            one = _plain_recipe(recipe, names)
            made[one.item].append(one)
    return RecipeBook(
        (one for recipes in made.values() for one in grouped(recipes, set(names.values()))), names.values()
    )


def _plain_recipe(recipe: dict[str, Any], names: dict[int, str]) -> Recipe:
    flat = recipe["ingredients"] if "ingredients" in recipe else [one for row in recipe["inShape"] for one in row]
    ids = (one.get("id") if isinstance(one, dict) else one for one in flat)
    # None and -1 are places of the grid that stay empty.
    counts = Counter(names[id] for id in ids if id is not None and id != -1)
    parts = sorted(Ingredient(name, count, (name,)) for name, count in counts.items())
    return Recipe(names[recipe["result"]["id"]], recipe["result"]["count"], tuple(parts))


def grouped(recipes: Iterable[Recipe], items: set[str]) -> list[Recipe]:
    """Recipes of one item with their alternatives taken together, until no three are left that differ in one word.

    Args:
        recipes: of one item.
        items: all names of items; a group that would have one of them is called "any ...".
    """
    left = sorted(set(recipes))
    while candidates := list(_families(left)):
        family, group = max(candidates, key=lambda pair: (len(pair[1].members), pair[1].name))
        rest = [one for one in family[0].ingredients if one.name not in group.members]
        name = f"any {group.name}" if group.name in items else group.name
        merged = tuple(sorted([*rest, Ingredient(name, group.count, group.members)]))
        left = sorted([*(one for one in left if one not in family), Recipe(family[0].item, family[0].count, merged)])
    return left


def _families(recipes: list[Recipe]) -> Iterator[tuple[list[Recipe], Ingredient]]:
    """Recipes that differ in one ingredient alone, with the group that takes its place."""
    alike: defaultdict[tuple[Any, ...], list[tuple[Recipe, str]]] = defaultdict(list)
    for recipe in recipes:
        for one in recipe.ingredients:
            if not one.is_group:
                rest = tuple(other for other in recipe.ingredients if other != one)
                alike[rest, one.count, recipe.count, one.name.split()[-1]].append((recipe, one.name))
    for (_, count, _, _), found in alike.items():
        if len(found) >= _FEWEST_MEMBERS:
            members = tuple(sorted(name for _, name in found))
            yield [recipe for recipe, _ in found], Ingredient(_shared_ending(members), count, members)


def _shared_ending(names: tuple[str, ...]) -> str:
    """The words that all names end with."""
    columns = zip(*(reversed(name.split()) for name in names), strict=False)
    shared = [words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns)]
    return " ".join(reversed(shared))
