"""Products, as WebShop's own files describe them."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlat.errors import InputError

LONGEST_ID = 10
PRICE_WHERE_NONE = 100.0
NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""What a product without attributes has in the released code."""
NO_RATING = "N.A."
BETWEEN_SHELVES = "\u203a"


@dataclass(frozen=True)
class Review:
    """What a customer wrote."""

    title: str
    score: str
    body: str


@dataclass(frozen=True)
class Product:
    """One product of the shop."""

    id: str
    """Upper-case letters and digits, at most ten."""
    title: str
    category: str
    query: str
    """What somebody searched for when the product was found; lower case."""
    shelves: tuple[str, ...]
    """From the whole department to the kind of product."""
    description: str
    features: tuple[str, ...]
    attributes: tuple[str, ...]
    """What goals may ask for; shown on no page, unless asked for."""
    options: Mapping[str, tuple[str, ...]]
    """Name of an option -> its values, in lower case."""
    price: float
    """What it costs."""
    price_tag: str
    """What the shop says that it costs: a range, where the price depends on the options."""
    reviews: tuple[Review, ...] = ()
    rating: str = NO_RATING


def read_products(
    records: object, attributes: Mapping[str, Any], reviews: Iterable[Mapping[str, Any]], place: str
) -> list[Product]:
    """The products of ``items_shuffle.json``, in order, the first one of every id.

    Products without an id, or with one of more than ten characters, are left out as in the released code.

    Args:
        records: the content of the file.
        attributes: the content of ``items_ins_v2.json``: id -> ``{"attributes": [...]}``.
        reviews: the content of ``reviews.json``.
        place: what errors call the file.

    Raises:
        InputError: there are no products, or one lacks what a product has.
    """
    if not isinstance(records, list) or not records:
        raise InputError(f"{place} holds no products: expected a list of objects, as items_shuffle.json has it")
    said = {one["asin"]: one for one in reviews}
    found: dict[str, Product] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"{place}: product {number} is {record!r}, expected an object")
        for field in ("asin", "name", "category", "query", "product_category"):
            if not isinstance(record.get(field), str):
                raise InputError(f"{place}: product {number} has {field} {record.get(field)!r}, expected a text")
        id = record["asin"]
        if id != "nan" and len(id) <= LONGEST_ID and id not in found:
            found[id] = _product(record, attributes.get(id, {}), said.get(id, {}), place)
    if not found:
        raise InputError(f"{place}: no product has an id of at most {LONGEST_ID} characters")
    return list(found.values())


def _product(record: Mapping[str, Any], about: Mapping[str, Any], said: Mapping[str, Any], place: str) -> Product:
    features = record.get("small_description") or ()
    prices = _prices(record, place)
    return Product(
        id=record["asin"],
        title=record["name"],
        category=record["category"],
        query=record["query"].lower().strip(),
        shelves=tuple(shelf.strip() for shelf in record["product_category"].split(BETWEEN_SHELVES)),
        description=record.get("full_description") or "",
        features=(features,) if isinstance(features, str) else tuple(features),
        attributes=tuple(about.get("attributes", NO_ATTRIBUTES)),
        options={
            # A slash would end the address of a page in the original.
            name.lower(): tuple(value["value"].strip().replace("/", " | ").lower() for value in values)
            for name, values in (record.get("customization_options") or {}).items()
            if values is not None
        },
        price=_drawn(record["asin"], prices),
        price_tag=" to ".join(f"${price}" for price in prices),
        reviews=tuple(
            Review(one.get("title", ""), str(one.get("score", one.get("stars", ""))), one.get("review", ""))
            for one in said.get("reviews", ())
        ),
        rating=str(said.get("average_rating", NO_RATING)),
    )


def _prices(record: Mapping[str, Any], place: str) -> Sequence[float]:
    """One price, or the lowest and the highest."""
    tag = record.get("pricing")
    if not tag:
        return [PRICE_WHERE_NONE]
    texts = [re.sub(r"[^\d.]", "", part) for part in tag.split("$")[1:]]
    if not texts or not all(re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) for text in texts):
        raise InputError(f"{place}: {record['asin']} has pricing {tag!r}, expected such as $9.50, or $9.50 - $12.00")
    return [float(text) for text in texts[:2]]


def _drawn(id: str, prices: Sequence[float]) -> float:
    """The price; of a range, one drawn for this product. The released code draws it anew at every start."""
    return prices[0] if len(prices) == 1 else random.Random(f"price of {id}").uniform(*prices)
