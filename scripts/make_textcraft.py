"""Write the small recipe set that comes with the package: things of an invented workshop, drawn with a fixed seed.

python scripts/make_textcraft.py src/interlat/environments/textcraft/recipes.json
"""

import json
import random
import sys
from pathlib import Path

SEED = 0
WOODS = ("ash", "beech", "cedar", "elm", "larch")
METALS = ("cobalt", "tin", "zinc")
FIBRES = ("flax", "hemp", "nettle")
DYES = ("madder", "ochre", "woad")
RAW = ("beeswax", "clay", "feather", "glass bead", "horn", "pitch", "reed", "river stone", "shell", "salt")
TOOLS = ("awl", "chisel", "mallet", "plane", "rasp", "shears", "trowel")
WARES = ("basket", "bellows", "box", "broom", "drum", "easel", "kite", "ladder", "lantern", "loom", "sled", "stool")
ADJECTIVES = ("carved", "folding", "hanging", "painted", "tall", "travelling")


def workshop(seed: int = SEED) -> tuple[dict[str, list[str]], list[dict[str, object]]]:
    """Groups and recipes, as a file of recipes has them."""
    draw = random.Random(seed)
    groups = {
        "boards": [f"{wood} boards" for wood in WOODS],
        "bar": [f"{metal} bar" for metal in METALS],
        "twine": [f"{fibre} twine" for fibre in FIBRES],
    }
    recipes: list[dict[str, object]] = []

    def add(item: str, count: int, **ingredients: int) -> None:
        recipes.append({"item": item, "count": count, "ingredients": ingredients})

    for wood in WOODS:
        add(f"{wood} boards", 4, **{f"{wood} trunk": 1})
    for metal in METALS:
        # Back and forth, so that there is a circle to be broken.
        add(f"{metal} ingot", 1, **{f"{metal} grain": 9})
        add(f"{metal} grain", 9, **{f"{metal} ingot": 1})
        add(f"{metal} bar", 2, **{f"{metal} ingot": 1})
    for fibre in FIBRES:
        add(f"{fibre} twine", 3, **{f"{fibre} stalk": 2})
        add(f"{fibre} cloth", 1, **{f"{fibre} twine": 4})
    for dye in DYES:
        add(f"{dye} dye", 2, **{f"{dye} root": 1, "salt": 1})
    add("peg", 4, boards=2)
    add("handle", 1, boards=1, peg=2)
    add("nail", 8, bar=1)
    add("frame", 1, boards=3, nail=4)
    add("glue", 2, horn=1, pitch=1)
    made = ["peg", "handle", "nail", "frame", "glue"]
    for tool in TOOLS:
        others = draw.sample(["bar", "twine", "river stone", "horn", "glue"], 2)
        add(tool, 1, handle=1, **{name: draw.randint(1, 3) for name in others})
        made.append(tool)
    cloths = [f"{fibre} cloth" for fibre in FIBRES]
    for ware in WARES:
        parts = draw.sample([*made[:5], *cloths, "boards", "twine"], 2) + draw.sample(RAW, 1)
        add(ware, 1, **{name: draw.randint(1, 4) for name in parts})
    for ware in WARES:
        for adjective in draw.sample(ADJECTIVES, 3):
            dye, part = f"{draw.choice(DYES)} dye", draw.choice(["nail", "peg", "twine", "glue", *RAW])
            add(f"{adjective} {ware}", 1, **{ware: 1, dye: draw.randint(1, 2), part: draw.randint(1, 4)})
    add("stall", 1, frame=2, stool=1, **{draw.choice(cloths): 3})
    return groups, recipes


def text(seed: int = SEED) -> str:
    """The file, one recipe a line."""
    groups, recipes = workshop(seed)
    lines = ",\n".join(json.dumps(recipe) for recipe in recipes)
    return f'{{"groups": {json.dumps(groups)},\n"recipes": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
