"""Where a shop comes from: our own small one, or a folder with WebShop's files."""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interlat.environments.webshop.goals import Goal, generated_goals, shuffled, written_goals
from interlat.environments.webshop.nouns import nouns_for
from interlat.environments.webshop.products import Product, read_products
from interlat.environments.webshop.reward import Nouns
from interlat.errors import InputError, WorldError
from interlat.files import file_digest, sha256_of
from interlat.tasks.reading import read_json

BUNDLED_FILE = Path(__file__).parent / "shop.json.gz"
PRODUCTS, ATTRIBUTES = "items_shuffle", "items_ins_v2"
SMALL = "_1000"
"""Ending of the published files with the first 1000 products."""
INSTRUCTIONS, REVIEWS = "items_human_ins.json", "reviews.json"


@dataclass(frozen=True)
class Shop:
    """Products and goals."""

    products: Sequence[Product]
    goals: Sequence[Goal]
    """In the published order: shuffled."""
    nouns: Nouns
    origin: Mapping[str, Any]


def load_shop(data: tuple[str, ...]) -> Shop:
    """The bundled shop where ``data`` is empty, or a folder with WebShop's files.

    The folder has ``items_shuffle.json`` and ``items_ins_v2.json``, or both with ``_1000``; ``items_human_ins.json``
    with the goals that people wrote, else the generated goals are taken; and ``reviews.json``, if there are reviews.

    Raises:
        InputError: more than one place, no such folder or file, no goals, or another format.
        WorldError: bm25s or rapidfuzz is not installed.
    """
    if missing := [name for name in ("bm25s", "rapidfuzz") if find_spec(name) is None]:
        raise WorldError(
            f"WebShop needs {' and '.join(missing)}, which are not installed: pip install 'interlat[webshop]'"
        )
    if len(data) > 1:
        raise InputError(f"data is {list(data)}, expected one folder with WebShop's files, or nothing")
    shop = _from_folder(Path(data[0]).expanduser()) if data else _bundled()
    if not shop.goals:
        raise InputError(
            f"{shop.origin['data']} holds no goals for its products; give {INSTRUCTIONS} of these products"
        )
    return shop


def _bundled() -> Shop:
    content = json.loads(gzip.decompress(BUNDLED_FILE.read_bytes()))
    place = BUNDLED_FILE.name
    products = read_products(content["products"], content["attributes"], content["reviews"], place)
    goals = written_goals(products, content["instructions"], place)
    nouns, name = nouns_for(content["nouns"])
    # The digest of what is in the file: how it was compressed is no part of the shop.
    digest = sha256_of(json.dumps(content, sort_keys=True).encode())
    origin = {"data": "bundled", "products": len(products), "nouns": name, "sha256": digest}
    return Shop(products, shuffled(goals), nouns, origin)


def _from_folder(folder: Path) -> Shop:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the folder with WebShop's {PRODUCTS}.json, or no data")
    ending = "" if (folder / f"{PRODUCTS}.json").is_file() else SMALL
    names = [f"{PRODUCTS}{ending}.json", f"{ATTRIBUTES}{ending}.json"]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise InputError(f"{folder} has no {' and no '.join(missing)}; give the folder with WebShop's files")
    records, attributes = (_json(folder / name) for name in names)
    if not isinstance(attributes, dict):
        raise InputError(f"{folder / names[1]} holds no object, expected id and attributes of products")
    present = [name for name in (INSTRUCTIONS, REVIEWS) if (folder / name).is_file()]
    reviews = _json(folder / REVIEWS) if REVIEWS in present else []
    if not isinstance(reviews, list) or not all(isinstance(one, dict) and "asin" in one for one in reviews):
        raise InputError(f"{folder / REVIEWS} holds no list of objects with asin, expected the reviews of products")
    products = read_products(records, attributes, reviews, str(folder / names[0]))
    if INSTRUCTIONS in present:
        instructions = _json(folder / INSTRUCTIONS)
        if not isinstance(instructions, dict):
            raise InputError(f"{folder / INSTRUCTIONS} holds no object, expected id and instructions of products")
        goals = written_goals(products, instructions, str(folder / INSTRUCTIONS))
    else:
        goals = generated_goals(products, attributes, str(folder / names[1]))
    nouns, how = nouns_for(())
    digests = {name: file_digest(folder / name) for name in (*names, *present)}
    origin = {"data": str(folder), "products": len(products), "nouns": how, "files": digests}
    return Shop(products, shuffled(goals), nouns, origin)


def _json(path: Path) -> Any:
    return read_json(path, "give WebShop's own file")
