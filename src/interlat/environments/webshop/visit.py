"""A visit to the shop: pages, what can be done on each, and the purchase that ends it."""

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

from interlat.environments.protocol import Outcome
from interlat.environments.webshop import pages
from interlat.environments.webshop.goals import Goal
from interlat.environments.webshop.products import Product
from interlat.environments.webshop.reward import Nouns, reward_of

RULES = (
    "You shop for somebody: find what the instruction asks for, choose its options, and buy it. "
    "A page is shown as parts with [SEP] between them. One action a turn:\n"
    "search[words]: look for products\n"
    "click[part]: press a button, open a product by its id, or choose a value of an option; click[buy now] ends it\n"
    "Think first if you like, and end with a line such as Action: search[blue mug]"
)
REFUSED = "Nothing happens: that is not an action of this page."

_ACTION = re.compile(r"(search|click)\[(.+)\]")


class Visit:
    """One episode.

    ``refused_actions`` in the facts counts the actions that the shop did not know or did not offer.

    Search words such as ``<r>``, which the published shop answers with random or hidden lists, are plain words here.

    Args:
        goal: what is to be bought.
        search: products for words, the best first.
        nouns: the nouns of a title, for the reward.
        attributes: whether the pages offer the attributes, which the published shop hides unless asked.
    """

    def __init__(self, goal: Goal, search: Callable[[str], list[Product]], nouns: Nouns, attributes: bool) -> None:
        self._goal, self._search, self._nouns, self._attributes = goal, search, nouns, attributes
        self._page: Literal["search", "results", "item", "sub page"] = "search"
        self._found: list[Product] = []
        self._number = 1
        self._product: Product | None = None
        self._sub_page = ""
        self._chosen: dict[str, str] = {}
        self._steps = self._refused = 0

    def start(self) -> Outcome:
        return Outcome(f"{RULES}\n\n{self._text()}")

    def step(self, action: str) -> Outcome:
        self._steps += 1
        # As published: the name counts letter by letter, the rest in any case, and what follows the bracket not at all.
        found = _ACTION.match(action)
        name, argument = (found[1], found[2].lower()) if found else ("", "")
        if name == "search":
            self._found = self._search(argument)
            self._show_results(1)
        elif name == "click" and argument in self.clickable():
            if argument == pages.BUY.lower():
                return self._bought()
            self._click(argument)
        else:
            self._refused += 1
            return self._seen(pages.page_text([REFUSED, self._text()]))
        return self._seen(self._text())

    def clickable(self) -> list[str]:
        """What a click takes on this page, in lower case."""
        match self._page:
            case "search":
                return []
            case "results":
                parts = pages.results_page("", self._found, self._number)
                buttons = [part for part in parts if part in (pages.BACK, pages.PREVIOUS, pages.NEXT)]
                return [part.lower() for part in (*buttons, *(one.id for one in self._shown()))]
            case "item":
                assert self._product is not None
                buttons = [pages.BACK, pages.PREVIOUS, *pages.sub_pages(self._attributes), pages.BUY]
                values = [value for values in self._product.options.values() for value in values]
                return [*(part.lower() for part in buttons), *values]
            case "sub page":
                return [pages.BACK.lower(), pages.PREVIOUS.lower()]

    def _click(self, part: str) -> None:
        names = {name.lower(): name for name in pages.sub_pages(self._attributes)}
        if part == pages.BACK.lower():
            self._page, self._found, self._product, self._chosen = "search", [], None, {}
        elif part == pages.NEXT.lower() and self._page == "results":
            self._show_results(self._number + 1)
        elif part == pages.PREVIOUS.lower() and self._page == "results":
            self._show_results(self._number - 1)
        elif part == pages.PREVIOUS.lower() and self._page == "item":
            self._show_results(self._number)
        elif part == pages.PREVIOUS.lower():
            self._page = "item"
        elif part in names and self._page == "item":
            self._page, self._sub_page = "sub page", names[part]
        elif self._page == "results":
            self._product = next(one for one in self._shown() if one.id.lower() == part)
            self._page = "item"
        else:
            assert self._product is not None
            # A value that two options have counts for the last of them, as in the released code.
            name = [name for name, values in self._product.options.items() if part in values][-1]
            self._chosen[name] = part

    def _show_results(self, number: int) -> None:
        self._page, self._number, self._product, self._chosen = "results", number, None, {}

    def _shown(self) -> list[Product]:
        begin = (self._number - 1) * pages.ON_A_PAGE
        return self._found[begin : begin + pages.ON_A_PAGE]

    def _bought(self) -> Outcome:
        assert self._product is not None
        reward = reward_of(self._product, self._chosen.values(), self._goal, self._nouns)
        parts = {name: value for name, value in asdict(reward).items() if name != "total"}
        return Outcome(
            f"Your order of {self._product.id} is on its way.",
            done=True,
            success=reward.total == 1,
            score=reward.total,
            steps=self._steps,
            facts={
                "refused_actions": self._refused,
                "bought": self._product.id,
                "chosen": dict(self._chosen),
                "reward": parts,
            },
        )

    def _seen(self, text: str) -> Outcome:
        return Outcome(text, score=0.0, steps=self._steps, facts={"refused_actions": self._refused})

    def _text(self) -> str:
        instruction = self._goal.instruction
        if self._page == "search":
            return pages.page_text(pages.search_page(instruction))
        if self._product is None:
            return pages.page_text(pages.results_page(instruction, self._found, self._number))
        if self._page == "item":
            return pages.page_text(pages.item_page(instruction, self._product, self._chosen, self._attributes))
        return pages.page_text(pages.sub_page(instruction, self._product, self._sub_page))
