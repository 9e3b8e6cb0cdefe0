"""Write the shop that comes with the package: invented products and goals, drawn with a fixed seed.

python scripts/make_webshop.py src/interlat/environments/webshop/shop.json.gz

Its parts have the formats of WebShop's own files: products (items_shuffle.json), attributes (items_ins_v2.json),
instructions (items_human_ins.json) and reviews (reviews.json). Besides, nouns: the nouns of all titles.
"""

import gzip
import json
import random
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 0
PRODUCTS_OF_A_TYPE = 10
GOALS = 240

BRANDS = (
    "Alderbrook", "Bramwick", "Corvanna", "Dunmere", "Elmstead", "Fennimore", "Galdino", "Harrowby", "Inverlee",
    "Jorvane", "Kestrelle", "Lindholm", "Marrowell", "Nettleby", "Ostermoor", "Pellinor", "Quillon", "Rosemoor",
    "Sandmere", "Tamsin", "Umberline", "Vellacot", "Wyndale", "Yarrow",
)  # fmt: skip
SHADES = (
    "moss green", "brick red", "harbour blue", "coal black", "chalk white", "straw yellow", "fox orange",
    "heath purple", "cloud grey", "walnut brown", "shell pink", "river teal",
)  # fmt: skip
SIZES = ("small", "medium", "large", "huge")
LENGTHS = ("9 cm", "30 cm", "one metre", "two feet")
PACKS = ("single", "pair", "set of four", "box of twelve")
TASTES = ("cardamom", "blood orange", "sea salt", "honey", "ginger", "cherry", "vanilla", "smoked paprika")
CHOICES = {"color": SHADES, "size": SIZES, "length": LENGTHS, "count": PACKS, "flavor": TASTES}


@dataclass(frozen=True)
class Department:
    """Kinds of products with what can be said of them."""

    name: str
    category: str
    materials: tuple[str, ...]
    attributes: tuple[str, ...]
    parts: tuple[str, ...]
    uses: tuple[str, ...]
    types: dict[str, tuple[str, tuple[str, ...], tuple[int, int]]]
    """Type of product -> shelf, names of options, lowest and highest price."""


DEPARTMENTS = (
    Department(
        "Home & Kitchen",
        "kitchen",
        ("Stoneware", "Enamel", "Bamboo", "Glass", "Iron"),
        ("dishwasher safe", "heat resistant", "easy to clean", "non slip", "stackable", "scratch resistant",
         "hand painted", "oven proof"),
        ("Lid", "Handle", "Foot", "Band", "Hook"),
        ("Families", "Caravans", "Bakers", "Students"),
        {
            "mixing bowl": ("Bakeware", ("color", "size"), (12, 45)),
            "baking tray": ("Bakeware", ("length",), (9, 30)),
            "teapot": ("Tea & Coffee", ("color",), (18, 60)),
            "coffee mug": ("Tea & Coffee", ("color", "count"), (8, 35)),
            "cutting board": ("Preparation", ("length",), (14, 55)),
            "salt mill": ("Preparation", ("color", "length"), (16, 48)),
            "dish rack": ("Washing Up", ("color",), (20, 65)),
            "storage jar": ("Preparation", ("size", "count"), (7, 40)),
            "oven glove": ("Bakeware", ("color", "count"), (6, 24)),
            "fruit basket": ("Table", ("color", "size"), (15, 50)),
        },
    ),
    Department(
        "Garden & Outdoors",
        "garden",
        ("Steel", "Oak", "Wicker", "Canvas", "Copper"),
        ("rust proof", "weather resistant", "light weight", "easy to assemble", "frost hardy", "foldable",
         "wind proof", "hand made"),
        ("Chain", "Stand", "Grip", "Bracket", "Cover"),
        ("Balconies", "Allotments", "Patios", "Orchards"),
        {
            "watering can": ("Watering", ("color", "size"), (14, 52)),
            "garden hose": ("Watering", ("length",), (22, 80)),
            "flower pot": ("Planting", ("color", "size"), (8, 44)),
            "seed tray": ("Planting", ("count",), (5, 22)),
            "hand trowel": ("Tools", ("color",), (9, 28)),
            "pruning saw": ("Tools", ("length",), (17, 46)),
            "bird feeder": ("Wildlife", ("color",), (12, 38)),
            "garden bench": ("Furniture", ("color", "size"), (85, 240)),
            "lantern": ("Lighting", ("color", "count"), (13, 58)),
            "hammock": ("Furniture", ("color", "size"), (39, 120)),
        },
    ),
    Department(
        "Clothing & Shoes",
        "fashion",
        ("Wool", "Linen", "Cotton", "Leather", "Fleece"),
        ("machine washable", "water resistant", "quick drying", "slim fit", "long sleeve", "fully lined",
         "double stitched", "breathable"),
        ("Pocket", "Button", "Hem", "Cord", "Label"),
        ("Hikers", "Commuters", "Sailors", "Cyclists"),
        {
            "rain jacket": ("Outerwear", ("color", "size"), (48, 150)),
            "cardigan": ("Knitwear", ("color", "size"), (28, 95)),
            "walking boots": ("Footwear", ("color", "size"), (60, 180)),
            "scarf": ("Accessories", ("color",), (10, 42)),
            "work gloves": ("Accessories", ("color", "size"), (8, 32)),
            "pyjamas": ("Nightwear", ("color", "size"), (20, 64)),
            "sun hat": ("Accessories", ("color", "size"), (12, 40)),
            "socks": ("Footwear", ("color", "size", "count"), (5, 26)),
            "apron": ("Workwear", ("color",), (11, 36)),
            "waistcoat": ("Workwear", ("color", "size"), (26, 88)),
        },
    ),
    Department(
        "Food & Drink",
        "grocery",
        ("Oat", "Rye", "Almond", "Spelt", "Barley"),
        ("gluten free", "low sugar", "plant based", "hand picked", "slow roasted", "individually wrapped",
         "palm oil free", "high protein"),
        ("Tin", "Ribbon", "Seeds", "Raisins", "Card"),
        ("Picnics", "Breakfasts", "Lunchboxes", "Hampers"),
        {
            "crackers": ("Biscuits", ("flavor", "count"), (4, 22)),
            "granola": ("Breakfast", ("flavor", "count"), (6, 28)),
            "marmalade": ("Spreads", ("flavor", "count"), (5, 24)),
            "nut butter": ("Spreads", ("flavor", "count"), (7, 30)),
            "fudge": ("Sweets", ("flavor", "count"), (6, 26)),
            "loose tea": ("Drinks", ("flavor", "count"), (8, 34)),
            "soup mix": ("Pantry", ("flavor",), (5, 18)),
            "shortbread": ("Biscuits", ("flavor", "count"), (5, 25)),
            "cordial": ("Drinks", ("flavor", "count"), (6, 23)),
            "popcorn": ("Sweets", ("flavor", "count"), (3, 19)),
        },
    ),
    Department(
        "Desk & Gadgets",
        "electronics",
        ("Aluminium", "Walnut", "Cork", "Rubber", "Felt"),
        ("shock proof", "dust proof", "splash proof", "easy to carry", "long lasting", "scratch resistant",
         "space saving", "light weight"),
        ("Switch", "Strap", "Base", "Pouch", "Clip"),
        ("Travel", "Offices", "Classrooms", "Workshops"),
        {
            "desk lamp": ("Lighting", ("color",), (24, 90)),
            "alarm clock": ("Clocks", ("color",), (15, 55)),
            "radio": ("Sound", ("color",), (30, 130)),
            "headphones": ("Sound", ("color", "size"), (25, 160)),
            "power bank": ("Power", ("color", "size"), (18, 75)),
            "extension cable": ("Power", ("length", "color"), (9, 34)),
            "laptop sleeve": ("Carrying", ("color", "length"), (14, 48)),
            "keyboard": ("Input", ("color",), (28, 120)),
            "mouse mat": ("Input", ("color", "size"), (6, 25)),
            "pen holder": ("Tidying", ("color",), (7, 29)),
            "thermometer": ("Measuring", ("color", "count"), (11, 40)),
            "torch": ("Lighting", ("color", "length"), (10, 46)),
        },
    ),
)  # fmt: skip
OPENINGS = (
    "{maker} makes this {kind} of {material} for {use}.",
    "A {kind} of {material}, drawn and tested by {maker} with {use} in mind.",
    "This {kind} by {maker} is what {use} have been waiting for.",
)
PRAISE = (
    ("Does what it says", "I use the {kind} every week and would buy it again."),
    ("Good for the price", "The {kind} came well packed and looks like the picture."),
    ("Not what I expected", "The {kind} is fine, but I had hoped for another finish."),
)
WISHES = (
    "I want to buy {attributes} {kind}{options}",
    "Find me {kind}, {attributes}{options}",
    "My sister is after {attributes} {kind}{options}",
    "I am shopping for {kind}, {attributes}{options}",
    "Please order {attributes} {kind} for me{options}",
)


def shop(seed: int = SEED) -> dict[str, Any]:
    """All parts of the file."""
    draw = random.Random(seed)
    products: list[dict[str, Any]] = []
    attributes: dict[str, Any] = {}
    reviews: list[dict[str, Any]] = []
    for department in DEPARTMENTS:
        for kind in department.types:
            for _ in range(PRODUCTS_OF_A_TYPE):
                product, said = one_product(department, kind, draw)
                products.append(product)
                attributes[product["asin"]] = {"attributes": said}
                reviews.append(reviews_of(product, draw))
    draw.shuffle(products)
    instructions = {
        product["asin"]: [instruction_for(product, attributes[product["asin"]]["attributes"], draw)]
        for product in draw.sample(products, GOALS)
    }
    words = {
        word.lower()
        for department in DEPARTMENTS
        for name in (*department.types, *department.materials, *department.parts, *department.uses)
        for word in name.split()
    }
    return {
        "products": products,
        "attributes": attributes,
        "instructions": instructions,
        "reviews": reviews,
        "nouns": sorted(words | {brand.lower() for brand in BRANDS}),
    }


def one_product(department: Department, kind: str, draw: random.Random) -> tuple[dict[str, Any], list[str]]:
    """A product, and its attributes."""
    shelf, names, (low, high) = department.types[kind]
    maker, material = draw.choice(BRANDS), draw.choice(department.materials)
    (use, other_use), (part, other_part) = draw.sample(department.uses, 2), draw.sample(department.parts, 2)
    # With so many nouns, one that is shared makes no other kind of product the right one.
    extras = f"with {part} and {other_part} for {use} and {other_use}"
    said = draw.sample(department.attributes, 4)
    price = draw.randint(low * 100, high * 100) / 100
    # One price in twenty depends on what is chosen.
    pricing = f"${price:.2f}" + (f"${price * 1.5:.2f}" if draw.random() < 0.05 else "")
    opening = draw.choice(OPENINGS).format(maker=maker, kind=kind, material=material.lower(), use=use.lower())
    product = {
        "asin": "W" + "".join(draw.choices(string.ascii_uppercase + string.digits, k=9)),
        "name": f"{maker} {said[0].title()} {material} {kind.title()} {extras}",
        "full_description": f"{opening} It is {said[1]} and {said[2]}.",
        "small_description": [f"{said[0].capitalize()}: made to last", f"{said[3].capitalize()}, as our guests ask"],
        "pricing": pricing,
        "customization_options": {
            name: [{"value": value, "image": None} for value in some_of(CHOICES[name], draw)] for name in names
        },
        "category": department.category,
        "query": kind,
        "product_category": " \u203a ".join((department.name, shelf, kind.title())),
        "images": [""],
    }
    return product, said


def some_of(values: tuple[str, ...], draw: random.Random) -> list[str]:
    """Two to five values, in their order."""
    chosen = set(draw.sample(values, draw.randint(2, min(5, len(values)))))
    return [value for value in values if value in chosen]


def reviews_of(product: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Two reviews and their mean."""
    stars = [draw.randint(1, 5) for _ in range(2)]
    said = draw.sample(PRAISE, 2)
    return {
        "asin": product["asin"],
        "reviews": [
            {"title": title, "stars": f"{number}", "review": text.format(kind=product["query"])}
            for number, (title, text) in zip(stars, said, strict=True)
        ],
        "average_rating": sum(stars) / 2,
    }


def instruction_for(product: dict[str, Any], attributes: list[str], draw: random.Random) -> dict[str, Any]:
    """A wish that the product grants: one or two of its attributes, and a value of every option."""
    asked = draw.sample(attributes, draw.randint(1, 2))
    chosen = {name: draw.choice(values)["value"] for name, values in product["customization_options"].items()}
    options = ", with " + " and ".join(f"{name} {value}" for name, value in chosen.items())
    wish = draw.choice(WISHES).format(kind=product["query"], attributes=" and ".join(asked), options=options)
    return {"instruction": wish + ".", "instruction_attributes": asked, "instruction_options": list(chosen.values())}


def content(seed: int = SEED) -> bytes:
    """The file before it is compressed."""
    return json.dumps(shop(seed), ensure_ascii=False, separators=(",", ":")).encode()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(gzip.compress(content(), mtime=0))
