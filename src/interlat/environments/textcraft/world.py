"""The game of TextCraft (arXiv 2311.05772): fetch raw items, craft others by recipes, until the goal is made.

As published: the three actions; a recipe followed once and with exactly its ingredients (the number that is said to
come of it does not count); any member where a group is asked for; raw items without limit; goals of depth 2 or more; up
to ten recipes shown that are not needed; reward 1 for the goal; 40 actions.

Different:

- Texts are our own, refusals too. Words are read in any case, and an ingredient named twice is counted twice.
- Every deep enough item is a goal, in the order of names, and one in four is held out as ``test``. The published goals
  are taken in the order of depth, the deepest first, and none is held out.
- One recipe of each needed item is shown, the shallowest; the published task shows all of them, and all recipes of each
  member of a group. The members of a group are written below the recipes; there one has to know them.
- Recipes that are not needed use one of the items or members; there they use the same item, or the group by its name.
- Recipes come from `minecraft-data`, which has no groups: they are found again (`sources`). A group is as deep as its
  shallowest member, there as the shallowest that can be made. Circles are broken by use (`RecipeBook`), there by the
  order of the files, and recipes of one block alone are left out.
- An episode goes on to its last action, and a goal with a long plan has twice as many actions as the plan. There it
  ends after eight refusals or thoughts in a row, and a thought is an action.
"""

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Sequence

from interlat.environments.protocol import EnvironmentOptions, Item, Outcome
from interlat.environments.textcraft.recipes import Recipe, RecipeBook, craft_command
from interlat.environments.textcraft.sources import load_book
from interlat.environments.world import some_items
from interlat.errors import InputError

SHALLOWEST = 2
"""Least depth of a goal: it is made of something that is made itself."""
DISTRACTORS = 10
"""Most recipes shown beside those that are needed."""
FEWEST_STEPS = 40
"""Least number of actions in an episode, as in the published runs."""
RULES = (
    "You craft things from recipes, one action a turn. The actions:\n"
    "get N ITEM: fetch N of an item that no recipe makes\n"
    "craft N ITEM using N ITEM, N ITEM: follow a recipe once, with exactly its ingredients\n"
    "inventory: see what you have\n"
    "Think first if you like, and end with a line such as Action: inventory"
)

_GET = re.compile(r"get (\d{1,6}) (.+)")
_CRAFT = re.compile(r"craft (?:\d{1,6} )?(.+?) using (.+)")
_PART = re.compile(r"(\d{1,6}) (.+)")


class TextCraftWorld:
    """Every item of a recipe book that is deep enough is a goal.

    Args:
        options: ``data`` is where recipes come from, see `load_book`; ``split`` is train or test.

    Raises:
        InputError, WorldError: there are no recipes, no goals, or such options.
    """

    def __init__(self, options: EnvironmentOptions) -> None:
        options.know("textcraft")
        self.book, self.origin = load_book(options.data)
        goals = sorted(name for name, depth in self.book.depth.items() if depth >= SHALLOWEST)
        if not goals:
            raise InputError(f"no item of {self.origin['data']} is {SHALLOWEST} recipes deep; give other recipes")
        self._goals = {f"textcraft/{goal.replace(' ', '_')}": goal for goal in goals}
        self._options = options

    def items(self) -> Sequence[Item]:
        return some_items([self._item(id, goal) for id, goal in self._goals.items()], self._options)

    def episode(self, item: str) -> "TextCraftEpisode":
        return TextCraftEpisode(self.book, self._goals[item], task_text(self.book, self._goals[item]))

    def expert(self, item: str) -> Sequence[str]:
        return plan(self.book, self._goals[item])

    def _item(self, id: str, goal: str) -> Item:
        depth, needed = self.book.depth[goal], len(plan(self.book, goal))
        # One goal in four is held out, the same whatever else is in the book.
        is_test = hashlib.sha256(goal.encode()).digest()[0] % 4 == 0
        return Item(
            id=id,
            question=task_text(self.book, goal),
            split="test" if is_test else "train",
            task_type=f"depth {depth}",
            family=("craft", goal),
            max_steps=max(FEWEST_STEPS, 2 * needed),
            facts={"depth": depth, "expert_steps": needed},
        )


class TextCraftEpisode:
    """One goal. ``refused_actions`` in the facts counts the actions that the game did not know or did not allow."""

    def __init__(self, book: RecipeBook, goal: str, task: str) -> None:
        self._book, self._goal, self._task = book, goal, task
        self._held: Counter[str] = Counter()
        self._steps = self._refused = 0

    def start(self) -> Outcome:
        return Outcome(f"{RULES}\n\n{self._task}")

    def step(self, action: str) -> Outcome:
        self._steps += 1
        words = " ".join(action.lower().split()).rstrip(".")
        is_won = False
        if words == "inventory":
            text, is_allowed = self._inventory(), True
        elif found := _GET.fullmatch(words):
            text, is_allowed = self._get(int(found[1]), found[2])
        elif found := _CRAFT.fullmatch(words):
            text, is_allowed = self._craft(found[1], found[2])
            is_won = is_allowed and found[1] == self._goal
        else:
            text, is_allowed = f"{action!r} is none of the actions get, craft, inventory.", False
        self._refused += not is_allowed
        facts = {"refused_actions": self._refused}
        return Outcome(text, is_won, is_won, float(is_won), self._steps, facts=facts)

    def _inventory(self) -> str:
        held = ", ".join(f"{count} {name}" for name, count in sorted(self._held.items()))
        return f"You have {held}." if held else "You have nothing."

    def _get(self, count: int, item: str) -> tuple[str, bool]:
        if not self._book.is_raw(item):
            why = "it must be crafted" if item in self._book.recipes else "there is no such item"
            return f"You cannot get {item}: {why}.", False
        if count < 1:
            return f"You get nothing: ask for at least 1 {item}.", False
        self._held[item] += count
        return f"You got {count} {item}.", True

    def _craft(self, item: str, using: str) -> tuple[str, bool]:
        parts = [_PART.fullmatch(part.strip()) for part in using.split(",")]
        given = [(int(part[1]), part[2]) for part in parts if part]
        if len(given) < len(parts):
            return f"What you use is not clear: write a number before each item, not {using!r}.", False
        recipe = next((one for one in self._book.recipes.get(item, []) if follows(one, given)), None)
        if recipe is None:
            return f"No recipe makes {item} of that.", False
        needed = Counter[str]()
        for number, name in given:
            needed[name] += number
        if lacking := sorted(name for name in needed if self._held[name] < needed[name]):
            return f"You do not have enough {', '.join(lacking)}.", False
        self._held = self._held - needed
        self._held[item] += recipe.count
        return f"You crafted {recipe.count} {item}.", True


def follows(recipe: Recipe, given: Sequence[tuple[int, str]]) -> bool:
    """Whether these (count, item) pairs are exactly the ingredients of a recipe, in any order."""
    if len(given) != len(recipe.ingredients):
        return False
    if not given:
        return True
    first, *rest = recipe.ingredients
    return any(
        count == first.count
        and name in first.members
        and follows(Recipe(recipe.item, recipe.count, tuple(rest)), [*given[:place], *given[place + 1 :]])
        for place, (count, name) in enumerate(given)
    )


def plan(book: RecipeBook, goal: str) -> list[str]:
    """The expert's actions: every raw item in one action, then the recipes from the shallowest on.

    An ingredient is less deep than what it makes, so all that an item is needed for is known when its turn comes.
    """
    wanted, fetches, crafts = Counter({goal: 1}), list[str](), list[str]()
    while wanted:
        item = max(wanted, key=lambda name: (book.depth[name], name))
        count = wanted.pop(item)
        if book.is_raw(item):
            fetches.append(f"get {count} {item}")
            continue
        recipe = book.best(item)
        taken, times = [book.member(one) for one in recipe.ingredients], math.ceil(count / recipe.count)
        crafts += [craft_command(recipe, taken)] * times
        for ingredient, name in zip(recipe.ingredients, taken, strict=True):
            wanted[name] += ingredient.count * times
    return [*sorted(fetches), *reversed(crafts)]


def task_text(book: RecipeBook, goal: str) -> str:
    """The recipes that the goal needs, others that use the same things, in a fixed random order; and the goal."""
    needed, waiting = list[Recipe](), [goal]
    while waiting:
        item = waiting.pop(0)
        if not book.is_raw(item) and book.best(item) not in needed:
            needed.append(book.best(item))
            waiting += [book.member(one) for one in needed[-1].ingredients]
    used = {name for recipe in needed for one in recipe.ingredients for name in one.members}
    others = {name for one in used for name in book.users.get(one, ())} - {recipe.item for recipe in needed}
    near = [book.best(name) for name in sorted(others)]
    draw = random.Random(f"recipes for {goal}")
    shown = [*needed, *draw.sample(near, min(DISTRACTORS, len(near)))]
    draw.shuffle(shown)
    groups = {
        f"{one.name}: any one of {', '.join(one.members)}" for r in shown for one in r.ingredients if one.is_group
    }
    return "\n".join(["Recipes:", *(recipe.text for recipe in shown), *sorted(groups), "", f"Goal: craft {goal}."])
