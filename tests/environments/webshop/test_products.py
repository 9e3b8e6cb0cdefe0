import pytest

from interlat.environments.webshop.products import Review, read_products
from interlat.errors import InputError
from shop_records import ATTRIBUTES, RECORDS, REVIEWS, record


def test_the_published_format_is_read():
    bowl, spoon, cap = read_products(RECORDS, ATTRIBUTES, REVIEWS, "items_shuffle.json")
    assert (bowl.id, bowl.title, bowl.query, bowl.price, bowl.price_tag) == (
        "B000000001", "Hob Soup Bowl", "soup bowl", 12.5, "$12.5",
    )  # fmt: skip
    assert bowl.shelves == ("Kitchen", "Table", "Bowls") and bowl.features == ("Holds half a litre", "Made by Hand")
    assert bowl.options == {"color": ("dark green", "red | white"), "size": ("small", "large")}
    assert bowl.attributes == ("dishwasher safe", "stackable")
    assert (bowl.reviews, bowl.rating) == ((Review("Fine", "5", "No crack yet."), Review("Ok", "4", "")), "4.5")
    assert (spoon.options, spoon.features, spoon.price, spoon.price_tag) == ({}, (), 100.0, "$100.0")
    assert (spoon.rating, spoon.reviews, cap.attributes) == ("N.A.", (), ("DUMMY_ATTR",))
    assert cap.price_tag == "$1200.0 to $1400.0" and 1200 <= cap.price <= 1400


def test_a_price_of_a_range_is_the_same_in_every_process_and_differs_between_products():
    ranges = [record(f"B{number}", "Cap", pricing="$1.00 - $9.00") for number in range(3)]
    prices = [one.price for one in read_products(ranges, {}, [], "x")]
    assert prices == [one.price for one in read_products(ranges, {}, [], "x")] and len(set(prices)) == 3
    assert all(1 <= price <= 9 for price in prices)


@pytest.mark.parametrize(
    ("records", "named"),
    [
        ([], "no products"),
        ({"asin": 1}, "no products"),
        (["bowl"], "product 0"),
        ([record("B1", None)], "name None"),
        ([record("B1", "Bowl", query=3)], "query 3"),
        ([record("B1", "Bowl", pricing="cheap")], "B1 has pricing 'cheap'"),
        ([record("nan", "Bowl")], "no product has an id"),
    ],
)
def test_another_format_is_refused_by_name(records, named):
    with pytest.raises(InputError, match=named):
        read_products(records, {}, [], "shop.json")


def test_a_feature_may_be_one_text_and_a_description_may_be_missing():
    (one,) = read_products([record("B1", "Bowl", small_description="Deep", full_description=None)], {}, [], "x")
    assert (one.features, one.description) == (("Deep",), "")
