"""The reward of a purchase: r = r_type * (attributes + options + price) / (number of all three).

WebShop (arXiv 2207.01206), section 3.1 and appendix A, as the released code computes it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from interlat.environments.webshop.goals import Goal
from interlat.environments.webshop.products import Product

Nouns = Callable[[str], list[str]]
"""The nouns of a title, in lower case, with repetitions."""
ALIKE = 85
"""Texts match above this similarity, of 100."""
_COLOURS = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal
dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo ivory
ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand
sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut
wheat white wine yellow
"""
COLOURS = tuple(_COLOURS.split())
"""The colours that the published reward knows; of two in a text, the first of this list counts."""
_LATIN_1 = dict.fromkeys(range(128, 256))


@dataclass(frozen=True)
class Reward:
    """What a purchase was worth."""

    total: float
    """0 to 1."""
    type_match: float
    """Whether it is the kind of product that was asked for: 0, 0.1, 0.5 or 1."""
    attributes: int
    """Attributes of the goal that the product has."""
    options: int
    """Options of the goal that were chosen."""
    price: bool
    """Within the limit."""


def reward_of(product: Product, chosen: Collection[str], goal: Goal, nouns: Nouns) -> Reward:
    """The reward for a product with the chosen values of its options."""
    type_match = type_match_of(product, goal.product, nouns)
    attributes = sum(has_attribute(product, one) for one in goal.attributes)
    options = options_matched(chosen, goal.options)
    within = product.price <= goal.price_limit
    share = (attributes + options + within) / (len(goal.attributes) + len(goal.options) + 1)
    return Reward(share * type_match, type_match, attributes, options, within)


def type_match_of(product: Product, wanted: Product, nouns: Nouns) -> float:
    """Whether a product is of the kind of another: by query, by two shelves, or by the nouns of the titles.

    Without a common noun it is 0, whatever query and shelves are.
    """
    names = nouns(wanted.title)
    title = len(set(nouns(product.title)) & set(names)) / len(names) if names else 0.2
    if title == 0:
        return 0.0
    if title < 0.1:
        return 0.1
    alike = product.query == wanted.query or len(set(product.shelves) & set(wanted.shelves)) >= 2 or title > 0.2
    return 1.0 if alike else 0.5


def has_attribute(product: Product, attribute: str) -> bool:
    """Whether a product has an attribute: in its list, or word by word in what is written about it."""
    texts = (product.title, " ".join(product.features), product.description)
    return any(is_alike(one, attribute) for one in product.attributes) or any(
        attribute in text.lower() for text in texts
    )


def options_matched(chosen: Iterable[str], wanted: Iterable[str]) -> int:
    """How many of the wanted values are among the chosen ones; of a colour only its name counts."""
    taken = [named_colour(value) for value in chosen]
    return sum(any(is_alike(value, named_colour(one)) for value in taken) for one in wanted)


def named_colour(value: str) -> str:
    """The first colour of `COLOURS` inside a text; the text itself where there is none."""
    return next((colour for colour in COLOURS if colour in value), value)


def is_alike(one: str, other: str) -> bool:
    """Whether two texts match: the similarity of their sets of words, rounded, is above 85."""
    from rapidfuzz import fuzz, utils

    score: Any = fuzz.token_set_ratio(
        # As in the published scorer: letters of Latin-1 that are not ASCII do not count.
        utils.default_process(one.translate(_LATIN_1)),
        utils.default_process(other.translate(_LATIN_1)),
    )
    return round(score) > ALIKE
