import importlib.util
import json
import re
import runpy
import zlib
from pathlib import Path

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("rapidfuzz")

from interlat.environments.webshop import sources
from interlat.environments.webshop.reward import is_alike, named_colour
from interlat.environments.webshop.sources import BUNDLED_FILE, load_shop
from interlat.errors import InputError, WorldError
from shop_records import RECORDS, write_shop

SCRIPT = Path(__file__).parents[3] / "scripts" / "make_webshop.py"


def test_the_bundled_shop_is_what_the_script_makes():
    made = runpy.run_path(str(SCRIPT))
    assert zlib.decompress(BUNDLED_FILE.read_bytes(), 31) == made["content"](made["SEED"])
    assert BUNDLED_FILE.stat().st_size < 400_000


def test_the_bundled_shop_has_what_it_promises():
    shop = load_shop(())
    assert len(shop.products) >= 500 and len(shop.goals) >= 200
    assert (shop.origin["data"], shop.origin["products"], shop.origin["nouns"]) == ("bundled", 520, "listed")
    assert all(re.fullmatch("W[A-Z0-9]{9}", one.id) for one in shop.products)
    assert all(len(set(shop.nouns(one.title))) >= 7 for one in shop.products)
    assert len({goal.product.query for goal in shop.goals}) > 40


def test_values_of_an_option_and_attributes_are_told_apart_by_the_reward():
    shop = load_shop(())
    for product in shop.products:
        options = [[named_colour(value) for value in values] for values in product.options.values()]
        for plain in (*options, product.attributes):
            assert not any(is_alike(one, other) for one in plain for other in plain if one != other), plain
            assert len(set(plain)) == len(plain)


def test_a_folder_with_the_published_files(tmp_path):
    shop = load_shop((str(write_shop(tmp_path)),))
    assert [one.id for one in shop.products] == ["B000000001", "B000000002", "B000000003"]
    assert {goal.product.id for goal in shop.goals} == {"B000000001", "B000000002"}
    assert shop.products[0].rating == "4.5" and shop.origin["nouns"] in ("words", "en_core_web_lg")
    assert set(shop.origin["files"]) == {
        "items_shuffle.json", "items_ins_v2.json", "items_human_ins.json", "reviews.json",
    }  # fmt: skip


def test_the_small_files_without_reviews_and_with_generated_goals(tmp_path):
    shop = load_shop((str(write_shop(tmp_path, "_1000", reviews=None, items_human_ins=None)),))
    assert set(shop.origin["files"]) == {"items_shuffle_1000.json", "items_ins_v2_1000.json"}
    assert len(shop.goals) == 4 and shop.products[0].rating == "N.A."


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"items_ins_v2": None}, "no items_ins_v2.json"),
        ({"items_shuffle": {}}, "items_shuffle.json holds no products"),
        ({"items_ins_v2": []}, "items_ins_v2.json holds no object"),
        ({"items_human_ins": []}, "items_human_ins.json holds no object"),
        ({"items_human_ins": {}}, "no goals"),
        ({"reviews": {}}, "reviews.json holds no list"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, changes, named):
    with pytest.raises(InputError, match=named):
        load_shop((str(write_shop(tmp_path, **changes)),))


def test_a_wrong_place_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        load_shop((str(tmp_path / "none"),))
    with pytest.raises(InputError, match="one folder"):
        load_shop(("a", "b"))
    write_shop(tmp_path)
    (tmp_path / "items_shuffle.json").write_text(json.dumps(RECORDS)[:-1], encoding="utf-8")
    with pytest.raises(InputError, match=r"items_shuffle\.json is no JSON"):
        load_shop((str(tmp_path),))


@pytest.mark.parametrize("package", ["bm25s", "rapidfuzz"])
def test_a_missing_package_is_one_line_that_says_how_to_get_it(monkeypatch, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(sources, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(WorldError, match=rf"^WebShop needs {package}, .*pip install 'interlat\[webshop\]'$"):
        load_shop(())
