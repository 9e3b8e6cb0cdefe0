"""The reward against a slow one, written from the paper with its own similarity, and values calculated by hand."""

import random
import re
from dataclasses import replace
from fractions import Fraction

import pytest

pytest.importorskip("rapidfuzz")

from interlat.environments.webshop.goals import Goal
from interlat.environments.webshop.products import Product
from interlat.environments.webshop.reward import (
    COLOURS,
    has_attribute,
    is_alike,
    named_colour,
    options_matched,
    reward_of,
    type_match_of,
)

BOWL = Product(
    id="B1",
    title="Hob soup bowl",
    category="kitchen",
    query="soup bowl",
    shelves=("Kitchen", "Table", "Bowls"),
    description="Keeps soup warm for an hour.",
    features=("Oven Proof", "holds half a litre"),
    attributes=("dishwasher safe", "essential oil"),
    options={"color": ("dark green",), "size": ("small",)},
    price=12.5,
    price_tag="$12.5",
)
GOAL = Goal(BOWL, "a bowl", ("dishwasher safe", "oven proof"), ("green", "small"), 20.0)


def nouns(title):
    return title.lower().split()


def common_length(one, other):
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for letter in one:
        before = row[:]
        for place, against in enumerate(other):
            row[place + 1] = before[place] + 1 if letter == against else max(before[place + 1], row[place])
    return row[-1]


def similarity(one, other):
    """100 * 2 * common / all letters, of the two texts as sets of words: the best of three pairings."""
    first, second = ({*re.sub(r"[^a-z0-9]", " ", text.lower()).split()} for text in (one, other))
    if not first or not second:
        return 0
    both = " ".join(sorted(first & second))
    left, right = (" ".join([both, *sorted(words - (first & second))]).strip() for words in (first, second))
    pairs = [(left, right)] + ([(both, left), (both, right)] if both else [])
    return round(max(100 * Fraction(2 * common_length(a, b), len(a) + len(b)) for a, b in pairs))


def slow_reward(product, chosen, goal):
    """The formula of the paper, with exact fractions."""
    wanted, shown = nouns(goal.product.title), nouns(product.title)
    share = Fraction(len(set(wanted) & set(shown)), len(wanted)) if wanted else Fraction(1, 5)
    same = product.query == goal.product.query or len(set(product.shelves) & set(goal.product.shelves)) >= 2
    kind = Fraction(1) if same or share > Fraction(1, 5) else Fraction(1, 2)
    kind = Fraction(0) if share == 0 else Fraction(1, 10) if share < Fraction(1, 10) else kind
    points = 0
    for attribute in goal.attributes:
        written = [product.title, " ".join(product.features), product.description]
        listed = [one for one in product.attributes if similarity(one, attribute) > 85]
        points += bool(listed or [text for text in written if attribute in text.lower()])
    plain = [next((colour for colour in COLOURS if colour in value), value) for value in chosen]
    for value in goal.options:
        colour = next((colour for colour in COLOURS if colour in value), value)
        points += bool([one for one in plain if similarity(one, colour) > 85])
    points += product.price <= goal.price_limit
    return kind * Fraction(points, len(goal.attributes) + len(goal.options) + 1)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        # "essential oil" in "essential oils": 2 * 13 / 27 = 96
        ("essential oils", "essential oil", True),
        # Letters in common of "of pack 1" and "of pack 8": 8, and 2 * 8 / 18 = 89
        ("pack of 1", "pack of 8", True),
        # "inch" alone against "inch 8": 2 * 4 / 10 = 80; "inch 8" against "inch 10": 2 * 5 / 13 = 77
        ("8 inch", "10 inch", False),
        # All words of one are in the other: 100
        ("powder snow", "cool powder snow", True),
        ("x-large", "large", True),
        ("gluten free", "gluten-FREE", True),
        # 2 * 6 / 14 = 85.7, rounded 86
        ("12 inch", "16 inch", True),
        # 2 * 11 / 26 = 84.6, rounded 85: not above 85
        ("abcdefghijkxy", "abcdefghijkzw", False),
        ("small", "", False),
        ("café", "caf", True),
        ("tea tree", "tea bag", False),
    ],
)
def test_texts_are_alike_above_85(one, other, alike):
    assert is_alike(one, other) is is_alike(other, one) is alike
    assert (similarity(one.replace("é", ""), other) > 85) is alike


def test_similarity_is_that_of_the_slow_one_on_random_texts():
    draw = random.Random(0)
    words = ["tea", "tree", "oil", "oils", "low", "lo-w", "sugar", "free", "8", "18", "inch", "inches"]
    seen = set()
    for _ in range(400):
        one, other = (" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(2))
        seen.add(is_alike(one, other))
        assert is_alike(one, other) is (similarity(one, other) > 85), (one, other)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("value", "colour"),
    [("dark green", "dark"), ("navy blue", "blue"), ("moss green", "green"), ("small", "small"), ("", ""),
     ("steelivy fuchsia", "fuchsia")],
)  # fmt: skip
def test_of_a_colour_its_name_counts_the_first_of_the_list(value, colour):
    assert named_colour(value) == colour


def test_options_count_once_each():
    assert options_matched(["moss green", "small"], ["sea green", "small"]) == 2
    assert options_matched(["small"], ["small", "green"]) == 1
    assert options_matched([], ["small"]) == options_matched(["small"], []) == 0


@pytest.mark.parametrize(
    ("attribute", "there"),
    [("dishwasher safe", True), ("essential oils", True), ("oven proof", True), ("soup warm", True), ("hob", True),
     ("Oven Proof", False), ("steel", False)],
)  # fmt: skip
def test_an_attribute_is_listed_or_written(attribute, there):
    assert has_attribute(BOWL, attribute) is there


@pytest.mark.parametrize(
    ("title", "query", "shelves", "match"),
    [
        # 3 of 3 nouns
        ("Hob soup bowl", "cap", ("Hats",), 1.0),
        # No noun: 0, though query and shelves are the same
        ("Cap", "soup bowl", ("Kitchen", "Table", "Bowls"), 0.0),
    ],
)
def test_kinds_of_short_titles(title, query, shelves, match):
    assert type_match_of(replace(BOWL, title=title, query=query, shelves=shelves), BOWL, nouns) == match


@pytest.mark.parametrize(
    ("shared", "of", "query", "shelves", "match"),
    [
        (1, 5, "cap", (), 0.5),  # 0.2 is not above 0.2
        (1, 4, "cap", (), 1.0),
        (1, 5, "soup bowl", (), 1.0),
        (1, 5, "cap", ("Bowls", "Kitchen"), 1.0),
        (1, 5, "cap", ("Kitchen", "Kitchen", "Hats"), 0.5),  # one shelf, twice
        (1, 10, "cap", (), 0.5),  # 0.1 is not below 0.1
        (1, 11, "soup bowl", (), 0.1),
        (0, 11, "soup bowl", (), 0.0),
    ],
)
def test_kinds_of_titles_with_many_nouns(shared, of, query, shelves, match):
    wanted = replace(BOWL, title=" ".join(f"n{number}" for number in range(of)))
    title = " ".join([*(f"n{number}" for number in range(shared)), "other"])
    assert type_match_of(replace(BOWL, title=title, query=query, shelves=shelves), wanted, nouns) == match


def test_nouns_said_twice_count_twice_in_the_number_of_nouns():
    wanted = replace(BOWL, title="bowl bowl bowl bowl soup", query="other", shelves=())
    assert type_match_of(replace(BOWL, title="soup spoon"), wanted, nouns) == 0.5  # 1 / 5, not 1 / 2
    assert type_match_of(replace(BOWL, title="spoon"), replace(wanted, title=""), nouns) == 0.5  # 0.2 without nouns


@pytest.mark.parametrize(
    ("changes", "chosen", "total"),
    [
        ({}, ["moss green", "small"], 1.0),  # (2 + 2 + 1) / 5
        ({}, ["moss green"], 0.8),
        ({"price": 20.0}, ["moss green", "small"], 1.0),
        ({"price": 20.01}, ["moss green", "small"], 0.8),
        ({"attributes": ()}, ["small"], 0.6),  # oven proof is written, (1 + 1 + 1) / 5
        ({"title": "cap"}, ["moss green", "small"], 0.0),
    ],
)
def test_the_reward_by_hand(changes, chosen, total):
    found = reward_of(replace(BOWL, **changes), chosen, GOAL, nouns)
    assert found.total == total == float(slow_reward(replace(BOWL, **changes), chosen, GOAL))


def test_the_parts_are_told():
    found = reward_of(replace(BOWL, price=99), ["small", "red"], GOAL, nouns)
    assert (found.type_match, found.attributes, found.options, found.price) == (1.0, 2, 1, False)
    assert found.total == pytest.approx(3 / 5)


def test_the_reward_is_that_of_the_slow_one_on_random_purchases():
    draw = random.Random(1)
    words = ["tea", "tree", "oil", "oils", "red", "blue", "small", "x-small", "large", "pot", "lid", "cup", "tin"]

    def some(most):
        return tuple(" ".join(draw.choices(words, k=draw.randint(1, 2))) for _ in range(draw.randint(1, most)))

    def product():
        return replace(
            BOWL, title=" ".join(draw.choices(words, k=draw.randint(3, 12))), query=draw.choice(words),
            shelves=some(3), description=" ".join(some(3)), features=some(2), attributes=some(3),
            price=draw.choice([5.0, 15.0]),
        )  # fmt: skip

    seen = set()
    for _ in range(200):
        goal = Goal(product(), "", some(2), some(2), 10.0)
        bought, chosen = product(), some(3)
        found = reward_of(bought, chosen, goal, nouns)
        assert found.total == pytest.approx(float(slow_reward(bought, chosen, goal))), (bought, chosen, goal)
        seen.add(found.type_match)
    assert seen >= {0.0, 0.5, 1.0}
