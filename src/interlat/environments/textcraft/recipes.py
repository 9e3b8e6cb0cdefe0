"""Recipes, how deep they go, and which of them lead in circles."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from interlat.errors import InputError


@dataclass(frozen=True, order=True)
class Ingredient:
    """One ingredient of a recipe."""

    name: str
    """An item, or a group of items of which one is taken."""
    count: int
    """How many."""
    members: tuple[str, ...]
    """The items that will do, sorted; an item alone is its own only member."""

    @property
    def is_group(self) -> bool:
        """Whether one of several items may be taken."""
        return self.members != (self.name,)


@dataclass(frozen=True, order=True)
class Recipe:
    """What makes an item."""

    item: str
    count: int
    """Items that come of it."""
    ingredients: tuple[Ingredient, ...]
    """Sorted, at least one."""

    @property
    def text(self) -> str:
        """The command that it is crafted by, with its groups by name."""
        return craft_command(self, [one.name for one in self.ingredients])


def craft_command(recipe: Recipe, taken: Sequence[str]) -> str:
    """The command that crafts a recipe from these items, one an ingredient."""
    using = ", ".join(f"{one.count} {name}" for one, name in zip(recipe.ingredients, taken, strict=True))
    return f"craft {recipe.count} {recipe.item} using {using}"


class RecipeBook:
    """Recipes by what they make, without those that lead in circles.

    An item that no recipe makes is raw: it can be had as it is. Its depth is 0; any other item is one deeper than the
    deepest ingredient of its shallowest recipe.

    Args:
        recipes: all there are.
        items: further raw items, which no recipe needs.
    """

    def __init__(self, recipes: Iterable[Recipe], items: Iterable[str] = ()) -> None:
        self.recipes: dict[str, list[Recipe]] = {}
        for recipe in sorted(set(recipes)):
            self.recipes.setdefault(recipe.item, []).append(recipe)
        self._usage = Counter(
            name for recipe in self._all() for name in {m for i in recipe.ingredients for m in i.members}
        )
        self.items = {*items, *self.recipes, *self._usage}
        self._drop_conversions()
        self.depth = self._depths()
        """Item -> how many recipes deep it is; without items that cannot be made."""
        while circular := [name for name in self.recipes if name not in self.depth and self._needs_itself(name)]:
            # What most recipes use is made raw: it is the one to begin with.
            del self.recipes[max(circular, key=lambda name: (self._usage[name], name))]
            self.depth = self._depths()

    def is_raw(self, item: str) -> bool:
        """Whether an item can be had as it is."""
        return item in self.items and item not in self.recipes

    def best(self, item: str) -> Recipe:
        """The shallowest recipe of an item; of these the one with the fewest ingredients."""
        return self._best[item]

    @cached_property
    def _best(self) -> dict[str, Recipe]:
        def order(recipe: Recipe) -> tuple[int, int, Recipe]:
            deepest = _deepest(recipe, self.depth)
            return len(self.items) if deepest is None else deepest, sum(one.count for one in recipe.ingredients), recipe

        return {name: min(recipes, key=order) for name, recipes in self.recipes.items() if name in self.depth}

    @cached_property
    def users(self) -> dict[str, set[str]]:
        """Item -> what is made of it by the best recipe."""
        found: dict[str, set[str]] = {}
        for name, recipe in self._best.items():
            for ingredient in recipe.ingredients:
                for member in ingredient.members:
                    found.setdefault(member, set()).add(name)
        return found

    def member(self, ingredient: Ingredient) -> str:
        """The shallowest item that will do."""
        return min(
            (name for name in ingredient.members if name in self.depth), key=lambda name: (self.depth[name], name)
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all recipes that are left."""
        lines = [[one.item, one.count, [[i.name, i.count, i.members] for i in one.ingredients]] for one in self._all()]
        return hashlib.sha256(json.dumps([sorted(self.items), lines]).encode()).hexdigest()

    def _all(self) -> list[Recipe]:
        return [recipe for name in sorted(self.recipes) for recipe in self.recipes[name]]

    def _drop_conversions(self) -> None:
        """Of two recipes that turn one item into another and back, drop the one that makes what more recipes use.

        An ingot is then raw, nuggets and blocks are made of it, and not the other way round.
        """
        conversions = [recipe for recipe in self._all() if len(recipe.ingredients) == 1]
        turned = {(recipe.ingredients[0].name, recipe.item) for recipe in conversions}
        for recipe in conversions:
            given, made = recipe.ingredients[0].name, recipe.item
            if (made, given) in turned and (self._usage[made], made) > (self._usage[given], given):
                self._drop(recipe)

    def _drop(self, recipe: Recipe) -> None:
        left = [one for one in self.recipes[recipe.item] if one != recipe]
        if left:
            self.recipes[recipe.item] = left
        else:
            del self.recipes[recipe.item]

    def _depths(self) -> dict[str, int]:
        """Depth of every item that can be made of raw ones."""
        depth = {name: 0 for name in self.items if name not in self.recipes}
        changed = True
        while changed:
            changed = False
            for name, recipes in self.recipes.items():
                found = [deepest + 1 for recipe in recipes if (deepest := _deepest(recipe, depth)) is not None]
                if found and min(found) < depth.get(name, len(self.items) + 1):
                    depth[name], changed = min(found), True
        return depth

    def _needs_itself(self, item: str) -> bool:
        seen: set[str] = set()
        waiting = [item]
        while waiting:
            for recipe in self.recipes.get(waiting.pop(), []):
                for name in {member for one in recipe.ingredients for member in one.members} - seen:
                    if name == item:
                        return True
                    seen.add(name)
                    waiting.append(name)
        return False


def _deepest(recipe: Recipe, depth: Mapping[str, int]) -> int | None:
    """Depth of the deepest ingredient; None where one cannot be made."""
    depths = [[depth[name] for name in one.members if name in depth] for one in recipe.ingredients]
    return max(map(min, depths)) if all(depths) else None


def book_of(content: Mapping[str, object], place: str) -> RecipeBook:
    """The recipes of a file: ``{"groups": {name: [items]}, "recipes": [{"item", "count", "ingredients": {name: n}}]}``.

    Names are as actions spell them: lower case, one space between words, no comma, no "using", no full stop at the end.

    Raises:
        InputError: the content is of another form; names the place.
    """
    groups, lines = content.get("groups", {}), content.get("recipes")
    if not isinstance(groups, dict) or not isinstance(lines, list) or not lines:
        raise InputError(f"{place} holds no recipes: expected an object with recipes (a list) and groups (an object)")
    for name, members in groups.items():
        if not isinstance(members, list) or not members or not all(map(_is_name, members)):
            raise InputError(f"{place}: group {name!r} is {members!r}, expected a list of names of items")
    return RecipeBook(_recipe_of(line, number, groups, place) for number, line in enumerate(lines))


def _recipe_of(line: object, number: int, groups: Mapping[str, list[str]], place: str) -> Recipe:
    fields = line if isinstance(line, dict) else {}
    item, count, needed = fields.get("item"), fields.get("count", 1), fields.get("ingredients")
    if not isinstance(item, str) or not isinstance(needed, dict) or not needed:
        raise InputError(f"{place}: recipe {number} is {line!r}, expected item, count and ingredients {{name: count}}")
    if any(not isinstance(one, int) or one < 1 for one in (count, *needed.values())):
        raise InputError(f"{place}: recipe {number} of {item} has a count that is not a whole number above 0")
    if item in groups or not all(map(_is_name, (item, *needed))):
        raise InputError(
            f"{place}: recipe {number} of {item!r} has a name that no action can say; expected lower-case words "
            "without comma, using or a full stop at the end, and no group as the item"
        )
    parts = [Ingredient(name, n, tuple(sorted(set(groups.get(name, [name]))))) for name, n in needed.items()]
    return Recipe(item, count, tuple(sorted(parts)))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"(?!.*\busing\b)[^\s,A-Z]+( [^\s,A-Z]+)*(?<!\.)", name) is not None
