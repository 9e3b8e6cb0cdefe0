"""WebShop as an environment of `interlat evaluate`."""

import random
import re

from interlat.environments.protocol import EnvironmentOptions, Item, Outcome
from interlat.environments.webshop import pages
from interlat.environments.webshop.nouns import SPACY_MODEL, WORDS
from interlat.environments.world_environment import WorldEnvironment
from interlat.progress import say

_ID = re.compile(r"[A-Z0-9]{2,10}")
_WORD = re.compile(r"[^\W\d_]+")


class WebShop(WorldEnvironment):
    """Buying what an instruction asks for (WebShop). ``data``: nothing for our own shop, or a folder of its files."""

    name = "webshop"
    world = "interlat.environments.webshop.world:ShopWorld"

    def __init__(self, options: EnvironmentOptions) -> None:
        super().__init__(options)
        if self.origin["nouns"] == WORDS:
            say(
                f"webshop: without spaCy's {SPACY_MODEL} every word of a title is taken for a noun, so rewards for a "
                f"wrong kind of product differ from the published ones: python -m spacy download {SPACY_MODEL}"
            )

    def random_action(self, item: Item, seen: Outcome, draw: random.Random) -> str:
        """Some words of the instruction to search for, or a click on a product, a button or what may be an option."""
        parts = seen.text.split(pages.SEPARATOR)
        if parts[-1] == pages.SEARCH:
            words = _WORD.findall(item.question.removeprefix("Instruction:"))
            return f"search[{' '.join(draw.sample(words, min(3, len(words))))}]"
        if pages.BUY in parts:
            title = next(place for place, part in enumerate(parts) if part.startswith("Price:")) - 1
            options = parts[parts.index(pages.PREVIOUS) + 1 : title]
            return f"click[{draw.choice([*options, pages.BUY, pages.BUY]).lower()}]"
        # On pages of results, an id comes before every title; other pages have the way back only.
        shown = [part for part in parts[4:] if _ID.fullmatch(part)]
        buttons = [part for part in parts if part in (pages.BACK, pages.PREVIOUS, pages.NEXT)]
        return f"click[{draw.choice([*shown, *buttons]).lower()}]"
