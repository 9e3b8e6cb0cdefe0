import random

import pytest

from interlat.environments.webshop.goals import (
    NO_LIMIT,
    generated_goals,
    shuffled,
    split_of,
    written_goals,
)
from interlat.environments.webshop.products import read_products
from interlat.errors import InputError
from shop_records import ATTRIBUTES, INSTRUCTIONS, RECORDS, record

PRODUCTS = read_products(RECORDS, ATTRIBUTES, [], "items_shuffle.json")


def test_written_goals_are_read_and_those_without_attributes_left_out():
    bowl, spoon = written_goals(PRODUCTS, INSTRUCTIONS, "items_human_ins.json")
    assert (bowl.attributes, bowl.options) == (("dishwasher safe",), ("dark green", "small"))
    assert (spoon.attributes, spoon.options, spoon.product.id) == (("unvarnished",), (), "B000000002")
    # Above 12.50 the next four limits are 20 to 50, and the larger of two is taken.
    assert bowl.price_limit in (30, 40, 50) and spoon.price_limit in (120, 130, 140)
    assert bowl.instruction == (
        f"i want a green bowl that can go in the dishwasher, for at most {bowl.price_limit:.2f} dollars"
    )
    assert written_goals(PRODUCTS, INSTRUCTIONS, "x") == [bowl, spoon]


def test_generated_goals_ask_for_every_combination_of_options():
    goals = generated_goals(PRODUCTS, ATTRIBUTES, "items_ins_v2.json")
    assert [one.options for one in goals] == [
        ("dark green", "small"), ("dark green", "large"), ("red | white", "small"), ("red | white", "large"),
    ]  # fmt: skip
    assert goals[1].instruction.startswith("Find me a stackable soup bowl, with color dark green and size large, for")


@pytest.mark.parametrize(("price", "limits"), [("$9.99", (20, 30, 40)), ("$10.00", (30, 40, 50)), ("$975", (990,))])
def test_the_limit_is_one_of_the_four_next_tens_but_never_the_first(price, limits):
    goal = {"instruction": "a bowl", "instruction_attributes": ["deep"], "instruction_options": []}
    products = read_products([record(f"B{n}", "Bowl", pricing=price) for n in range(60)], {}, [], "x")
    found = {one.price_limit for one in written_goals(products, {one.id: [goal] for one in products}, "x")}
    assert found == set(limits)


def test_a_price_with_fewer_than_two_limits_above_has_none():
    goal = {"instruction": "a bowl.", "instruction_attributes": ["deep"], "instruction_options": []}
    (found,) = written_goals(read_products([record("B1", "Bowl", pricing="$985")], {}, [], "x"), {"B1": [goal]}, "x")
    assert (found.price_limit, found.instruction) == (NO_LIMIT, "a bowl")


def test_the_order_is_that_of_the_released_code():
    goals = list(range(3000))
    random.seed(233)
    random.shuffle(goals)
    assert shuffled(range(3000)) == goals


@pytest.mark.parametrize(
    ("place", "goals", "split"),
    [
        (0, 12087, "test"), (499, 12087, "test"), (500, 12087, "eval"), (1499, 12087, "eval"), (1500, 12087, "train"),
        (499, 1501, "test"), (1500, 1501, "train"), (0, 1500, "test"), (749, 1500, "test"), (750, 1500, "train"),
        (0, 1, "test"),
    ],
)  # fmt: skip
def test_splits(place, goals, split):
    assert split_of(place, goals) == split


@pytest.mark.parametrize("missing", ["instruction", "instruction_attributes", "instruction_options"])
def test_an_incomplete_instruction_is_refused(missing):
    one = {key: value for key, value in INSTRUCTIONS["B000000001"][0].items() if key != missing}
    with pytest.raises(InputError, match=f"instruction 0 of B000000001 has {missing} None"):
        written_goals(PRODUCTS, {"B000000001": [one]}, "items_human_ins.json")


def test_a_generated_instruction_without_attributes_is_refused():
    with pytest.raises(InputError, match="B000000001 has instruction_attributes None"):
        generated_goals(PRODUCTS, {"B000000001": {"instruction": "a bowl"}}, "items_ins_v2.json")
