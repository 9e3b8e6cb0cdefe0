"""Goals: a wish in words, and what is asked for."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlat.environments.webshop.products import Product
from interlat.errors import InputError

PRICE_LIMITS = tuple(10.0 * number for number in range(1, 100))
LIMITS_NEAR = 4
"""A limit is one of so many next above the price."""
NO_LIMIT = 1_000_000.0
SEED = 233
"""The released code shuffles the goals with it; the splits are cut from the shuffled list."""
SPLITS = {"test": range(500), "eval": range(500, 1500)}
"""Places in the shuffled list; all the others are for training (the released baselines)."""


@dataclass(frozen=True)
class Goal:
    """What is to be bought."""

    product: Product
    """The product that the wish was written for; another one may do."""
    instruction: str
    """The wish, as an agent reads it."""
    attributes: tuple[str, ...]
    """At least one."""
    options: tuple[str, ...]
    """Values, whatever their options are called."""
    price_limit: float


def written_goals(products: Sequence[Product], instructions: Mapping[str, Any], place: str) -> list[Goal]:
    """The goals that people wrote (``items_human_ins.json``), in the order of the products.

    A goal without attributes is left out.

    Args:
        products: all of the shop.
        instructions: id -> list of ``{"instruction", "instruction_attributes", "instruction_options"}``.
        place: what errors call the file.

    Raises:
        InputError: an instruction lacks one of the three.
    """
    goals = []
    for product in products:
        for number, one in enumerate(instructions.get(product.id, ())):
            _check(one, f"{place}: instruction {number} of {product.id}", options=True)
            if attributes := tuple(one["instruction_attributes"]):
                wanted = one["instruction_options"]
                values = wanted.values() if isinstance(wanted, dict) else wanted
                goals.append(_goal(product, one["instruction"].strip("."), attributes, tuple(values)))
    return goals


def generated_goals(products: Sequence[Product], attributes: Mapping[str, Any], place: str) -> list[Goal]:
    """The goals of ``items_ins_v2.json``: an instruction a product, with every combination of its options.

    Raises:
        InputError: an instruction has no text or no attributes.
    """
    goals = []
    for product in products:
        about = attributes.get(product.id, {})
        if about.get("instruction") is None:
            continue
        given = {**about, "instruction_attributes": about.get("instruction_attributes")}
        _check(given, f"{place}: {product.id}", options=False)
        names = sorted(product.options)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = " and ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
            text = f"{about['instruction']}{options and ', with '}{options}"
            goals.append(_goal(product, text, tuple(given["instruction_attributes"]), values))
    return goals


def split_of(place: int, goals: int) -> str:
    """The split of a place in the shuffled list: as published, or halves where the goals are too few for it."""
    if goals <= SPLITS["eval"].stop:
        return "test" if 2 * place < goals else "train"
    return next((name for name, places in SPLITS.items() if place in places), "train")


def shuffled(goals: Sequence[Goal]) -> list[Goal]:
    """The goals in the order of the released code."""
    order = list(goals)
    random.Random(SEED).shuffle(order)
    return order


def _goal(product: Product, text: str, attributes: tuple[str, ...], options: tuple[str, ...]) -> Goal:
    """With a limit of price drawn for this goal; the released code draws it anew at every start."""
    near = list(_limits_above(product.price))
    if len(near) < 2:
        return Goal(product, text, attributes, options, NO_LIMIT)
    limit = max(random.Random(f"price limit of {product.id}: {text}").sample(near, 2))
    return Goal(product, f"{text}, for at most {limit:.2f} dollars", attributes, options, limit)


def _limits_above(price: float) -> Iterator[float]:
    return itertools.islice((limit for limit in PRICE_LIMITS if limit > price), LIMITS_NEAR)


def _check(one: object, where: str, options: bool) -> None:
    fields = one if isinstance(one, dict) else {}
    if not isinstance(fields.get("instruction"), str):
        raise InputError(f"{where} has instruction {fields.get('instruction')!r}, expected a text")
    if not isinstance(fields.get("instruction_attributes"), list):
        found = fields.get("instruction_attributes")
        raise InputError(f"{where} has instruction_attributes {found!r}, expected a list")
    if options and not isinstance(fields.get("instruction_options"), list | dict):
        found = fields.get("instruction_options")
        raise InputError(f"{where} has instruction_options {found!r}, expected a list or an object")
