import math
import random
import re

import pytest

pytest.importorskip("bm25s")

from interlat.environments.webshop.products import read_products
from interlat.environments.webshop.search import MOST_FOUND, SearchIndex, document
from shop_records import RECORDS, record

WORDS = ("bowl", "spoon", "lamp", "red", "blue", "oak", "tin", "soup", "tea", "jar")
STOP = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these
"""


def products(count, seed=0):
    draw = random.Random(seed)
    return read_products(
        [
            record(
                f"B{number}",
                " ".join(draw.choices(WORDS, k=draw.randint(1, 6))),
                full_description=" ".join(draw.choices(WORDS, k=draw.randint(0, 9))),
            )
            for number in range(count)
        ],
        {},
        [],
        "x",
    )


def slow_scores(shop, query):
    """BM25 as Lucene has it, k1 = 0.9 and b = 0.4, word by word."""
    texts = [[word for word in re.findall(r"\w\w+", document(one)) if word not in STOP.split()] for one in shop]
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for word in query.split():
            having = sum(word in other for other in texts)
            weight = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            count = text.count(word)
            score += weight * count / (count + 0.9 * (1 - 0.4 + 0.4 * len(text) / mean))
        scores.append(score)
    return scores


def test_all_that_is_searched():
    bowl, spoon, *_ = read_products(RECORDS, {}, [], "x")
    assert document(bowl) == (
        "hob soup bowl a bowl for soup. holds half a litre color: dark green, red | white, and size: small, large"
    )
    assert document(spoon) == "hob wooden spoon a bowl for soup. "


@pytest.mark.parametrize("query", ["red", "oak bowl", "tea tea jar", "blue lamp unknown"])
def test_the_order_is_that_of_a_slow_bm25(query):
    shop = products(40)
    scores = slow_scores(shop, query)
    expected = sorted(range(40), key=lambda number: (-round(scores[number], 5), number))
    found = SearchIndex(shop).search(query)
    assert [one.id for one in found] == [f"B{number}" for number in expected if scores[number] > 0]


def test_at_most_fifty_are_found_and_equal_ones_in_the_order_of_the_shop():
    shop = read_products([record(f"B{number}", "Bowl") for number in range(70)], {}, [], "x")
    found = SearchIndex(shop).search("BOWL!")
    assert [one.id for one in found] == [f"B{number}" for number in range(MOST_FOUND)]


@pytest.mark.parametrize("query", ["nothing", "the", "?", " "])
def test_unknown_words_find_nothing(query):
    assert SearchIndex(products(5)).search(query) == []
