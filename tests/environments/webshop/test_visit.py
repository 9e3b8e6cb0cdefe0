from dataclasses import replace

import pytest

pytest.importorskip("rapidfuzz")

from interlat.environments.webshop.goals import Goal
from interlat.environments.webshop.products import read_products
from interlat.environments.webshop.visit import REFUSED, Visit
from shop_records import ATTRIBUTES, RECORDS, REVIEWS

BOWL, SPOON, _ = read_products(RECORDS, ATTRIBUTES, REVIEWS, "x")
FOUND = [BOWL, SPOON, *(replace(SPOON, id=f"S{number}") for number in range(10))]
GOAL = Goal(BOWL, "a green bowl", ("stackable",), ("dark green", "small"), 20.0)


def nouns(title):
    return title.lower().split()


@pytest.fixture
def visit():
    made = Visit(GOAL, lambda words: FOUND if "bowl" in words else [], nouns, attributes=False)
    made.start()
    return made


def taken(visit, *actions):
    """The outcome of the last of some actions."""
    return [visit.step(action) for action in actions][-1]


def test_a_purchase_from_search_to_reward(visit):
    assert visit.clickable() == []
    seen = taken(visit, "search[Soup Bowl]")
    assert "B000000001 [SEP] Hob Soup Bowl" in seen.text and (seen.done, seen.score, seen.steps) == (False, 0.0, 1)
    assert visit.clickable()[:3] == ["back to search", "next >", "b000000001"] and len(visit.clickable()) == 12
    seen = taken(visit, "click[B000000001]", "click[Dark Green]", "click[small]")
    assert "Chosen: color dark green, size small" in seen.text
    seen = taken(visit, "click[Buy Now]")
    assert (seen.done, seen.success, seen.score, seen.steps) == (True, True, 1.0, 5)
    assert seen.facts == {
        "refused_actions": 0,
        "bought": "B000000001",
        "chosen": {"color": "dark green", "size": "small"},
        "reward": {"type_match": 1.0, "attributes": 1, "options": 2, "price": True},
    }


@pytest.mark.parametrize(
    ("actions", "score"),
    [
        (("click[b000000001]",), 2 / 4),
        (("click[b000000001]", "click[large]", "click[dark green]"), 3 / 4),
        # The later value of an option replaces the former.
        (("click[b000000001]", "click[small]", "click[large]", "click[dark green]"), 3 / 4),
        # "hob" is one of three nouns, but not one point is won: 100 dollars, no options, not stackable.
        (("click[b000000002]",), 0.0),
    ],
)
def test_less_than_all_is_scored_and_no_success(visit, actions, score):
    seen = taken(visit, "search[bowl]", *actions, "click[buy now]")
    assert (seen.done, seen.success, seen.score) == (True, False, score)


def test_pages_are_turned_and_left(visit):
    first = taken(visit, "search[bowl]").text
    second = taken(visit, "click[next >]").text
    assert "Page 2" in second and visit.clickable() == ["back to search", "< prev", "s8", "s9"]
    item = taken(visit, "click[s9]").text
    assert "Buy Now" in item
    for name in ("description", "features", "reviews"):
        assert "Buy Now" not in taken(visit, f"click[{name}]").text
        assert visit.clickable() == ["back to search", "< prev"]
        assert taken(visit, "click[< prev]").text == item
    assert taken(visit, "click[< prev]").text == second
    assert taken(visit, "click[< prev]").text == first
    assert taken(visit, "click[back to search]").text.endswith("a green bowl [SEP] Search")


def test_choices_are_kept_on_sub_pages_and_lost_with_the_product(visit):
    taken(visit, "search[bowl]", "click[b000000001]", "click[small]")
    assert "Chosen: size small" in taken(visit, "click[reviews]", "click[< prev]").text
    assert "Chosen" not in taken(visit, "click[< prev]", "click[b000000001]").text


@pytest.mark.parametrize(
    "action",
    ["", "bowl", "click[buy now]", "click[]", "search[]", "click[search]", "Search[bowl]", "buy[bowl]", "click[b1]",
     "click[attributes]"],
)  # fmt: skip
def test_what_is_no_action_of_the_page_changes_nothing_and_costs_a_step(visit, action):
    for before in (("search[bowl]",), ("click[back to search]",)):
        shown = taken(visit, *before)
        seen = visit.step(action)
        assert seen.text == f"{REFUSED} [SEP] {shown.text}" and seen.steps == shown.steps + 1
        assert (seen.done, seen.score) == (False, 0.0)
        assert seen.facts["refused_actions"] == shown.facts["refused_actions"] + 1


def test_a_search_is_answered_from_every_page_and_forgets_the_product(visit):
    taken(visit, "search[bowl]", "click[b000000001]", "click[small]", "click[features]")
    assert "Total results: 0" in taken(visit, "search[nothing]").text
    assert visit.clickable() == ["back to search"]
    assert "Total results: 12" in taken(visit, "search[bowl] and more").text


def test_a_search_on_the_second_page_begins_on_the_first(visit):
    assert "Page 1 (" in taken(visit, "search[bowl]", "click[next >]", "search[bowl]").text


def test_the_attributes_are_a_page_where_they_are_asked_for():
    visit = Visit(GOAL, lambda words: FOUND, nouns, attributes=True)
    assert "stackable" in taken(visit, "search[x]", "click[b000000001]", "click[attributes]").text


def test_a_value_of_two_options_counts_for_the_last():
    twins = replace(BOWL, options={"rim": ("green",), "glaze": ("green", "red")})
    visit = Visit(GOAL, lambda words: [twins], nouns, attributes=False)
    assert "Chosen: glaze green [" in taken(visit, "search[x]", "click[b000000001]", "click[green]").text
