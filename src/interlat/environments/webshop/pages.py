"""The text of the pages, as the published environment has it in its simple manner: parts with [SEP] between them."""

from collections.abc import Mapping, Sequence

from interlat.environments.webshop.products import BETWEEN_SHELVES, Product

SEPARATOR = " [SEP] "
SEARCH, BACK, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
DESCRIPTION, FEATURES, REVIEWS, ATTRIBUTES = "Description", "Features", "Reviews", "Attributes"
ON_A_PAGE = 10


def search_page(instruction: str) -> list[str]:
    """Where a visit begins."""
    return ["WebShop", "Instruction:", instruction, SEARCH]


def results_page(instruction: str, found: Sequence[Product], page: int) -> list[str]:
    """Ten products of those that a search found; pages count from 1."""
    begin = (page - 1) * ON_A_PAGE
    buttons = [*([PREVIOUS] if page > 1 else []), *([NEXT] if begin + ON_A_PAGE < len(found) else [])]
    shown = [part for one in found[begin : begin + ON_A_PAGE] for part in (one.id, one.title, one.price_tag)]
    return ["Instruction:", instruction, BACK, f"Page {page} (Total results: {len(found)})", *buttons, *shown]


def item_page(instruction: str, product: Product, chosen: Mapping[str, str], attributes: bool) -> list[str]:
    """A product, its options and what was chosen of them."""
    options = [part for name, values in product.options.items() for part in (name, *values)]
    picked = [f"Chosen: {', '.join(f'{name} {value}' for name, value in chosen.items())}"] if chosen else []
    about = [product.title, f"Price: {product.price_tag}", f"Rating: {product.rating}"]
    return ["Instruction:", instruction, BACK, PREVIOUS, *options, *picked, *about, *sub_pages(attributes), BUY]


def sub_pages(attributes: bool) -> list[str]:
    """The buttons for what is written about a product."""
    return [DESCRIPTION, FEATURES, REVIEWS, *([ATTRIBUTES] if attributes else [])]


def sub_page(instruction: str, product: Product, name: str) -> list[str]:
    """What is written about a product under one button."""
    written = {
        DESCRIPTION: [product.description],
        FEATURES: [*product.features],
        REVIEWS: [part for one in product.reviews for part in (f'"{one.title}"', one.score, one.body)],
        ATTRIBUTES: [
            *product.attributes,
            product.category,
            product.query,
            f" {BETWEEN_SHELVES} ".join(product.shelves),
        ],
    }[name]
    return ["Instruction:", instruction, BACK, PREVIOUS, *written]


def page_text(parts: Sequence[str]) -> str:
    """One page; parts without letters are left out."""
    return SEPARATOR.join(part for part in parts if part)
