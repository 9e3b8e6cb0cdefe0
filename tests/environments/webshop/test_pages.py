from dataclasses import replace

from interlat.environments.webshop import pages
from interlat.environments.webshop.products import read_products
from shop_records import ATTRIBUTES, RECORDS, REVIEWS

BOWL = read_products(RECORDS, ATTRIBUTES, REVIEWS, "x")[0]


def test_parts_are_joined_as_published():
    assert pages.page_text(pages.search_page("a bowl")) == "WebShop [SEP] Instruction: [SEP] a bowl [SEP] Search"


def test_results_have_ten_products_and_buttons_where_more_follow():
    found = [replace(BOWL, id=f"B{number}") for number in range(21)]
    first, second, third = (pages.results_page("a bowl", found, number) for number in (1, 2, 3))
    assert first[:8] == [
        "Instruction:", "a bowl", "Back to Search", "Page 1 (Total results: 21)", "Next >",
        "B0", "Hob Soup Bowl", "$12.5",
    ]  # fmt: skip
    assert second[3:7] == ["Page 2 (Total results: 21)", "< Prev", "Next >", "B10"]
    assert third[3:] == ["Page 3 (Total results: 21)", "< Prev", "B20", "Hob Soup Bowl", "$12.5"]
    assert "Next >" not in pages.results_page("a bowl", found[:20], 2)
    assert pages.results_page("a bowl", [], 1)[-1] == "Page 1 (Total results: 0)"


def test_an_item_shows_its_options_and_what_was_chosen():
    text = pages.page_text(pages.item_page("a bowl", BOWL, {"color": "dark green"}, attributes=False))
    assert text == (
        "Instruction: [SEP] a bowl [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] dark green [SEP] red | white "
        "[SEP] size [SEP] small [SEP] large [SEP] Chosen: color dark green [SEP] Hob Soup Bowl [SEP] Price: $12.5 "
        "[SEP] Rating: 4.5 [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    assert pages.item_page("a bowl", BOWL, {}, attributes=True)[-2:] == ["Attributes", "Buy Now"]


def test_sub_pages_show_what_is_written():
    written = {name: pages.sub_page("a bowl", BOWL, name)[4:] for name in pages.sub_pages(attributes=True)}
    assert written == {
        "Description": ["A bowl for soup."],
        "Features": ["Holds half a litre", "Made by Hand"],
        "Reviews": ['"Fine"', "5", "No crack yet.", '"Ok"', "4", ""],
        "Attributes": ["dishwasher safe", "stackable", "kitchen", "soup bowl", "Kitchen \u203a Table \u203a Bowls"],
    }
