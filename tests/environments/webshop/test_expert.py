import itertools
from dataclasses import replace

import pytest

pytest.importorskip("rapidfuzz")

from interlat.environments.webshop.expert import best_actions, choices
from interlat.environments.webshop.goals import Goal
from interlat.environments.webshop.products import read_products
from interlat.environments.webshop.reward import reward_of
from interlat.environments.webshop.visit import Visit
from shop_records import ATTRIBUTES, RECORDS

BOWL, SPOON, _ = read_products(RECORDS, ATTRIBUTES, [], "x")
GOAL = Goal(BOWL, "a green bowl", ("stackable",), ("dark green", "small"), 20.0)


def nouns(title):
    return title.lower().split()


def played(goal, search):
    visit = Visit(goal, search, nouns, attributes=False)
    visit.start()
    return [visit.step(action) for action in best_actions(goal, search, nouns)][-1]


def test_the_product_is_found_on_a_later_page():
    found = [*(replace(SPOON, id=f"S{number}") for number in range(24)), BOWL]
    actions = best_actions(GOAL, lambda words: found, nouns)
    assert actions == [
        "search[hob soup bowl]", "click[next >]", "click[next >]", "click[b000000001]", "click[dark green]",
        "click[small]", "click[buy now]",
    ]  # fmt: skip
    assert played(GOAL, lambda words: found).success


def test_another_product_and_another_search_will_do():
    dear = replace(BOWL, price=99.0)
    twin = replace(BOWL, id="B000000009", price=10.0)
    seen = played(GOAL, lambda words: [dear])
    assert (seen.score, seen.success) == (0.75, False)
    seen = played(GOAL, lambda words: [dear] if "hob" in words.lower() else [dear, twin])
    assert seen.success and seen.facts["bought"] == "B000000009"


def test_the_best_is_bought_where_nothing_is_perfect():
    goal = replace(GOAL, options=("dark green", "huge"))
    seen = played(goal, lambda words: [SPOON, BOWL])
    assert seen.score == pytest.approx(3 / 4) and seen.facts["chosen"] == {"color": "dark green"}


def test_nothing_found_is_nothing_done():
    assert best_actions(GOAL, lambda words: [], nouns) == []


def test_the_choices_reach_what_all_choices_reach():
    many = replace(
        BOWL,
        options={
            "color": ("red", "moss green", "pine green"),
            "size": ("small", "x small", "large"),
            "rim": ("green",),
        },
    )
    for options in (("green", "small"), ("large",), ("red", "large"), ("blue",), ()):
        goal = replace(GOAL, options=options)
        every = itertools.product(*([None, *values] for values in many.options.values()))
        best = max(reward_of(many, [one for one in chosen if one], goal, nouns).total for chosen in every)
        assert max(reward_of(many, chosen, goal, nouns).total for chosen in choices(many, goal)) == best
