"""WebShop's files in small, in exactly their formats, with products of our own."""

import json


def record(id, name, **fields):
    """A product of items_shuffle.json, with fields that the environment does not need as well."""
    return {
        "name": name,
        "product_information": {"Date First Available": "1 May"},
        "brand": "Visit the Hob Store",
        "brand_url": "https://example.org",
        "full_description": "A bowl for soup.",
        "pricing": "$12.50",
        "list_price": "",
        "availability_status": "In stock",
        "images": ["https://example.org/1.jpg"],
        "product_category": "Kitchen \u203a Table \u203a Bowls",
        "average_rating": 4.1,
        "small_description": ["Holds half a litre", "Made by Hand"],
        "model": "",
        "customization_options": {
            "Color": [
                {"is_selected": True, "url": None, "value": "Dark Green", "price_string": "", "image": None},
                {"is_selected": False, "url": None, "value": "Red/White", "price_string": "", "image": None},
            ],
            "Size": [{"value": " Small "}, {"value": "Large"}],
            "Style": None,
        },
        "asin": id,
        "category": "kitchen",
        "query": " Soup Bowl ",
        "page": 1,
        **fields,
    }


RECORDS = [
    record("B000000001", "Hob Soup Bowl"),
    record("B000000002", "Hob Wooden Spoon", customization_options="", query="spoon", pricing="", small_description=[]),
    record("nan", "No product"),
    record("B0000000010", "Eleven characters"),
    record("B000000001", "Hob Soup Bowl again"),
    record("B000000003", "Red Cap", pricing="$1,200.00$1,400.00", product_category="Clothing \u203a Hats", query="cap"),
]
ATTRIBUTES = {
    "B000000001": {
        "attributes": ["dishwasher safe", "stackable"],
        "instruction": "Find me a stackable soup bowl",
        "instruction_attributes": ["stackable"],
    },
    "B000000002": {"attributes": ["unvarnished"], "instruction": None, "instruction_attributes": None},
}
INSTRUCTIONS = {
    "B000000001": [
        {
            "asin": "B000000001",
            "instruction": "i want a green bowl that can go in the dishwasher.",
            "attributes": ["dishwasher safe", "stackable"],
            "options": ["color: dark green", "size: small"],
            "instruction_attributes": ["dishwasher safe"],
            "instruction_options": ["dark green", "small"],
            "assignment_id": "3",
            "worker_id": "A",
        },
        {
            "asin": "B000000001",
            "instruction": "a bowl",
            "attributes": [],
            "options": [],
            "instruction_attributes": [],
            "instruction_options": [],
            "assignment_id": "4",
            "worker_id": "A",
        },
    ],
    "B000000002": [
        {
            "asin": "B000000002",
            "instruction": "a spoon without varnish",
            "attributes": ["unvarnished"],
            "options": [],
            "instruction_attributes": ["unvarnished"],
            "instruction_options": [],
            "assignment_id": "5",
            "worker_id": "B",
        }
    ],
}
REVIEWS = [
    {
        "asin": "B000000001",
        "average_rating": 4.5,
        "reviews": [{"title": "Fine", "stars": "5", "review": "No crack yet."}, {"title": "Ok", "stars": "4"}],
    }
]


def write_shop(folder, ending="", **changes):
    """The files of a shop; a part that is None is left out."""
    parts = {
        f"items_shuffle{ending}": RECORDS,
        f"items_ins_v2{ending}": ATTRIBUTES,
        "items_human_ins": INSTRUCTIONS,
        "reviews": REVIEWS,
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in parts.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
