"""The expert: tries every product that its searches find, with every choice of options that could count."""

import itertools
from collections.abc import Callable, Iterator

from interlat.environments.webshop.goals import Goal
from interlat.environments.webshop.pages import ON_A_PAGE
from interlat.environments.webshop.products import Product
from interlat.environments.webshop.reward import Nouns, options_matched, reward_of

Search = Callable[[str], list[Product]]


def best_actions(goal: Goal, search: Search, nouns: Nouns) -> list[str]:
    """The actions of the purchase with the highest reward; of equal ones the first that was found.

    It knows the goal: it searches for the title of its product, then for the instruction and for the query.
    """
    best, best_reward = list[str](), -1.0
    for query in (goal.product.title, goal.instruction, goal.product.query):
        for place, product in enumerate(search(query)):
            for chosen in choices(product, goal):
                reward = reward_of(product, chosen, goal, nouns).total
                if reward > best_reward:
                    best, best_reward = _actions(query, place, product, chosen), reward
                if reward == 1:
                    return best
    return best


def choices(product: Product, goal: Goal) -> Iterator[tuple[str, ...]]:
    """Every choice of options that matches as much of the goal as another could; at most one value an option.

    Values that match nothing are left out, and so are those that another value stands for.
    """
    useful = list[list[str]]()
    for values in product.options.values():
        # What a value matches -> the first that matches just this.
        found: dict[tuple[int, ...], str] = {}
        for value in values:
            matched = tuple(options_matched([value], [one]) for one in goal.options)
            if any(matched):
                found.setdefault(matched, value)
        if found:
            useful.append([*found.values()])
    yield from itertools.product(*useful)


def _actions(query: str, place: int, product: Product, chosen: tuple[str, ...]) -> list[str]:
    return [
        f"search[{query.lower()}]",
        *["click[next >]"] * (place // ON_A_PAGE),
        f"click[{product.id.lower()}]",
        *(f"click[{value}]" for value in chosen),
        "click[buy now]",
    ]
