"""The world of WebShop (arXiv 2207.01206): a shop, and a goal an item.

Actions, pages and reward are the published ones. What differs: the search does not stem words; prices and
limits of price are drawn once and for all; the Next button is there only where more products follow; and a page says
which options are chosen. Prose is our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interlat.environments.protocol import EnvironmentOptions, Item
from interlat.environments.webshop.expert import best_actions
from interlat.environments.webshop.goals import Goal, split_of
from interlat.environments.webshop.search import SearchIndex
from interlat.environments.webshop.sources import load_shop
from interlat.environments.webshop.visit import Visit
from interlat.environments.world import options_of, some_items
from interlat.errors import InputError

MOST_STEPS = 15


@dataclass(frozen=True)
class ShopOptions:
    """Options of a shop, besides its data."""

    show_attributes: bool = False
    """Give products a page of attributes."""

    def __post_init__(self) -> None:
        if not isinstance(self.show_attributes, bool):
            raise InputError(f"show_attributes is {self.show_attributes!r}, expected true or false")


class ShopWorld:
    """A shop and its goals.

    Args:
        options: ``data`` is nothing for the bundled shop, or a folder with WebShop's files, see `load_shop`;
            ``split`` is test, eval or train, as the released baselines cut the list of goals.

    Raises:
        InputError, WorldError: there are no products or goals, a package is missing, or an option is not usable.
    """

    def __init__(self, options: EnvironmentOptions) -> None:
        self._attributes = options_of(ShopOptions, "webshop", options.options).show_attributes
        self.shop = load_shop(options.data)
        self.origin = {**self.shop.origin, **({"show_attributes": True} if self._attributes else {})}
        self._index = SearchIndex(self.shop.products)
        self._goals = {f"webshop/{place}": goal for place, goal in enumerate(self.shop.goals)}
        self._items = some_items(
            [_item(id, goal, place, len(self._goals)) for place, (id, goal) in enumerate(self._goals.items())], options
        )

    def items(self) -> Sequence[Item]:
        return self._items

    def episode(self, item: str) -> Visit:
        return Visit(self._goals[item], self._index.search, self.shop.nouns, self._attributes)

    def expert(self, item: str) -> Sequence[str]:
        return best_actions(self._goals[item], self._index.search, self.shop.nouns)


def _item(id: str, goal: Goal, place: int, goals: int) -> Item:
    return Item(
        id=id,
        question=f"Instruction: {goal.instruction}",
        split=split_of(place, goals),
        task_type=goal.product.category,
        family=("buy", goal.product.query),
        max_steps=MOST_STEPS,
        facts={"goal_product": goal.product.id},
    )
