"""Made-up result records: of household games as earlier versions wrote them, and in the general format."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

RATES = {"none": 0.40, "text": 0.58, "latent": 0.74, "cross_task": 0.38, "zeros": 0.41, "gaussian": 0.40}
PLACES = ["drawer 1", "drawer 2", "drawer 3", "cabinet 4", "shelf 1", "countertop 2", "fridge 1", "sinkbasin 1"]
OBJECTS = ["apple", "mug", "kettle", "bread", "potato", "spoon"]


def fake_records(
    variants: Sequence[str] = tuple(RATES),
    games: int = 20,
    splits: Sequence[str] = ("seen", "unseen"),
    seeds: Sequence[int] = (0,),
    turns: int = 30,
) -> list[dict[str, Any]]:
    records = []
    for split in splits:
        for number in range(games):
            item = f"{split}/pick_clean_then_place_in_recep-Mug-None-Shelf-{number:03}"
            hardness = random.Random(item).random()
            for variant in variants:
                for seed in seeds:
                    draw = random.Random(f"{item}{variant}{seed}")
                    won = hardness * 0.7 + draw.random() * 0.3 < RATES.get(variant, 0.5)
                    steps = draw.randint(4, turns - 1) if won else turns
                    text, none = variant.startswith("text"), variant == "none"
                    records.append(
                        {
                            "item": item,
                            "variant": variant,
                            "split": split,
                            "task_type": "pick_clean_then_place_in_recep",
                            "success": won,
                            "steps": steps,
                            "max_steps": turns,
                            "seed": seed,
                            "config_hash": "0123456789ab",
                            "message_kind": "none" if none else "text" if text else "hidden",
                            "message_bytes": 0 if none else 96 if text else 12_288,
                            "message_rows": 0 if none or text else 24,
                            "prompt_tokens": 412,
                            "decoded_tokens": 5 * steps,
                            "sender_tokens": 0 if none else 210,
                            "latent_steps": 0,
                            "forward_passes": 6 * steps,
                            "sender_seconds": 0.0 if none else 0.0213,
                            "receiver_seconds": 0.011 * steps,
                            "world_seconds": 0.001 * steps,
                            "peak_memory_bytes": 900_000_000,
                            "plan": "" if none else "go to drawer 3 ; take mug ; go to sinkbasin 1 ; clean mug",
                            "turns": [fake_turn(draw) for _ in range(steps)],
                        }
                    )
    return records


def fake_turn(draw: random.Random) -> dict[str, str]:
    place, thing = draw.choice(PLACES), f"{draw.choice(OBJECTS)} {draw.randint(1, 3)}"
    return {
        "action": f"go to {place}",
        "observation": f"You arrive at {place}. The {place} is open. In it, you see a {thing}.",
    }


def fake_inspections(records: Sequence[dict[str, Any]], rows: int = 24) -> dict[str, Any]:
    found = {}
    for item in sorted({record["item"] for record in records}):
        draw = random.Random(item)
        decoded = []
        for position in range(rows):
            names = draw.sample(PLACES, 5)
            weights = sorted((draw.random() ** 3 for _ in range(5)), reverse=True)
            top = [[name, round(weight / (sum(weights) + 0.1), 4)] for name, weight in zip(names, weights, strict=True)]
            decoded.append(
                {
                    "position": position,
                    "token": names[0],
                    "norm": round(draw.uniform(8, 14), 3),
                    "entropy": round(draw.uniform(0, 2.2), 3),
                    "top": top,
                }
            )
        found[item] = {
            "task": "put a clean mug in shelf.",
            "evidence": "An hour ago you saw:\n- drawer 3: mug 1 (likely)\n- cabinet 4: mug 1 (maybe)\n"
            "You have already searched: drawer 1, drawer 2.",
            "plan": "go to drawer 3 ; take mug ; go to sinkbasin 1 ; clean mug ; go to shelf 1",
            "rows": decoded,
        }
    return found


ARMS = {
    "none": ("none", "", "none", 0.3),
    "text": ("text", "", "text", 0.6),
    "hidden": ("hidden", "", "hidden", 0.7),
    "cache": ("cache", "", "cache", 0.75),
    "text cross_task": ("text", "cross_task", "text", 0.35),
    "hidden zeros": ("hidden", "zeros", "hidden", 0.3),
    "hidden first_rows:4": ("hidden", "first_rows:4", "hidden", 0.5),
}
"""Label -> channel, control, message kind, success rate."""


def fake_results(
    items: int = 20, splits: Sequence[str] = ("easy", "hard"), seeds: Sequence[int] = (0,), steps: int = 9
) -> list[dict[str, Any]]:
    """Records in the general format."""
    records = []
    for split in splits:
        for number in range(items):
            for variant, (channel, control, kind, rate) in ARMS.items():
                for seed in seeds:
                    draw = random.Random(f"{split}{number}{variant}{seed}")
                    success = draw.random() < rate
                    latents = 0 if kind in ("none", "text") else 24
                    records.append(
                        {
                            "item": f"{split}-{number}",
                            "variant": variant,
                            "channel": channel,
                            "control": control,
                            "environment": "arithmetic",
                            "split": split,
                            "task_type": "add" if number % 2 else "multiply",
                            "success": success,
                            "score": 1.0 if success else draw.random() / 2,
                            "steps": draw.randint(1, steps),
                            "seed": seed,
                            "config_hash": "0123456789ab",
                            "message_kind": kind,
                            "message_bytes": {"none": 0, "text": 80}.get(kind, 40_000 + 10 * number),
                            "latents": latents,
                            "prompt_tokens": 100 + number,
                            "decoded_tokens": draw.randint(5, 50),
                            "sender_tokens": 0 if kind == "none" else 210,
                            "latent_steps": 0,
                            "forward_passes": 30,
                            "seconds": {"sender": 0.1 * (kind != "none"), "receiver": draw.random()},
                            "peak_memory_bytes": 900_000_000,
                            "failure": "",
                        }
                    )
    return records


@pytest.fixture
def make_results() -> Callable[..., list[dict[str, Any]]]:
    return fake_results


@pytest.fixture
def make_records() -> Callable[..., list[dict[str, Any]]]:
    return fake_records


@pytest.fixture
def make_inspections() -> Callable[..., dict[str, Any]]:
    return fake_inspections
