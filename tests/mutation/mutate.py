"""Small random damage to JSON values, bytes and tensors; the same for the same generator."""

import copy
import json
import random
from typing import Any

import torch
from torch import Tensor

DTYPES = (
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def junk(rng: random.Random) -> Any:
    """A value that hardly ever belongs where it is put."""
    return rng.choice(
        [
            None,
            True,
            -1,
            0,
            1.5,
            2**31,
            2**70,
            float("nan"),
            float("inf"),
            "",
            "x",
            "\ud800",
            "nan",
            "../../x",
            "\x00",
            [],
            {},
            [None],
            {"a": 1},
            [[1, 2], "b"],
            nested(100),
            nested(700),
        ]
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside, to a depth that no honest file exceeds."""
    found = [path]
    if len(path) < 8 and isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += places(value[key], (*path, key))
    return found


def damage_json(value: Any, rng: random.Random) -> Any:
    """A copy with one to three values replaced, left out, added or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(places(value))
        if not path:
            if rng.random() < 0.1:
                return junk(rng)
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        action = rng.choice(["replace", "replace", "remove", "add", "double"])
        if action == "replace":
            holder[path[-1]] = junk(rng)
        elif action == "remove":
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[f"{path[-1]}x"] = holder[path[-1]] if action == "double" else junk(rng)
        else:
            holder.insert(rng.randint(0, len(holder)), holder[path[-1]] if action == "double" else junk(rng))
    return value


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """A copy with bytes changed, cut off, put in or taken out."""
    content = bytearray(data)
    action = rng.choice(["flip", "flip", "cut", "insert", "delete", "zero"])
    place = rng.randrange(len(content) or 1)
    if action == "flip" and content:
        content[place] ^= 1 << rng.randrange(8)
    elif action == "cut":
        del content[place:]
    elif action == "insert":
        content[place:place] = rng.randbytes(rng.randint(1, 9))
    elif action == "delete":
        del content[place : place + rng.randint(1, 9)]
    else:
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    return bytes(content)


def damage_tensors(tensors: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """A copy with one tensor changed in dtype, shape or value, left out, renamed, or one added."""
    damaged = dict(tensors)
    name = rng.choice(sorted(damaged))
    tensor = damaged[name]
    action = rng.choice(["dtype", "dtype", "reshape", "value", "remove", "rename", "add", "cut"])
    if action == "dtype":
        damaged[name] = tensor.to(rng.choice(DTYPES))
    elif action == "reshape":
        damaged[name] = rng.choice([tensor.flatten(), tensor[None], tensor.flatten()[:1].reshape(())])
    elif action == "value" and tensor.numel():
        changed = tensor.clone().flatten()
        values = [float("nan"), float("inf"), 0.0] if tensor.is_floating_point() else [0, 1, 127]
        changed[rng.randrange(len(changed))] = rng.choice(values)
        damaged[name] = changed.reshape(tensor.shape)
    elif action == "cut":
        damaged[name] = tensor[:0] if tensor.ndim else tensor
    elif action == "add":
        damaged[f"{name}.x"] = tensor
    else:
        del damaged[name]
        if action == "rename":
            damaged[rng.choice(["text", "keys.9", "", name + "s"])] = tensor
    return damaged


def json_text(value: Any) -> str:
    """JSON as Python writes it, with NaN and infinities."""
    return json.dumps(value)
