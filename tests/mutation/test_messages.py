"""Damaged messages, also with repaired digests, give a message or an error of ours: no traceback, no wrong read."""

import dataclasses
import json
import random

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from interlat import messages
from interlat.errors import MessageError
from interlat.files import sha256_of
from interlat.messages import CacheMessage, Header, HiddenMessage, Message, TextMessage, from_bytes
from mutation.mutate import damage_bytes, damage_json, damage_tensors, nested

HEADER = Header(model="tiny", weights_fingerprint="ab" * 32, provenance={"task": "kettle", "seed": 3, "list": [1, {}]})


def originals() -> list[Message]:
    generator = torch.Generator().manual_seed(0)
    keys = tuple(torch.randn(2, 1, 3, 4, generator=generator) for _ in range(2))
    memory = {
        "attention_mask": torch.tensor([[False, True, True], [True, True, True]]),
        "position_ids": torch.tensor([[0, 0, 1], [0, 1, 2]]),
        "segment_ids": torch.tensor([[-1, 0, 1], [0, 0, 1]]),
        "segment_names": ("prompt", "latents"),
        "next_position": torch.tensor([2, 3]),
        "hidden_states": torch.randn(2, 5, generator=generator),
        "header": HEADER,
    }
    states = torch.randn(3, 4, generator=generator)
    placed = dataclasses.replace(HEADER, positions=(4, 5, 6))
    return [
        TextMessage("find the kettle, größer", HEADER),
        HiddenMessage(states, "find kettle", (1, 2, 3), placed),
        HiddenMessage(states.bfloat16(), header=HEADER),
        CacheMessage(keys, tuple(key + 1 for key in keys), **memory),
        CacheMessage(
            tuple(key.to(torch.int8) for key in keys),
            tuple(key.to(torch.int8) for key in keys),
            key_scales=tuple(key[..., 0].abs() for key in keys),
            value_scales=tuple(key[..., 1].abs() for key in keys),
            layer_mask=torch.ones(2, 2, 3, dtype=torch.bool),
            **memory,
        ),
    ]


def repaired(header: object, tensors: dict[str, Tensor]) -> bytes:
    """A file with these parts and digests that fit them, as a foreign writer would make it."""
    if isinstance(header, dict) and "sha256" in header:
        header = {**header, "sha256": messages._digest(tensors)}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    envelope = {"format": messages.FORMAT, "header": header, "header_sha256": sha256_of(text.encode())}
    content = json.dumps(envelope, sort_keys=True, separators=(",", ":"))
    return save(
        {name: tensor.clone().contiguous() for name, tensor in tensors.items()}, {messages.METADATA_KEY: content}
    )


def is_sound(data: bytes) -> bool:
    """Whether it is read; what is read can be written and read again, and is then the same."""
    try:
        message = from_bytes(data)
    except MessageError as error:
        assert "\n" not in str(error)
        return False
    assert from_bytes(message.to_bytes()).to_bytes() == message.to_bytes()
    return True


def check(count: int, seed: int) -> None:
    rng = random.Random(seed)
    chosen = originals()
    files = [message.to_bytes() for message in chosen]
    for _ in range(count):
        number = rng.randrange(len(chosen))
        message, data = chosen[number], files[number]
        if rng.random() < 0.3:
            damaged = damage_bytes(data, rng)
            if is_sound(damaged):
                assert from_bytes(damaged).to_bytes() == message.to_bytes(), (
                    "an altered message was read as another one"
                )
            continue
        header, tensors = dataclasses.asdict(message.header), message.tensors()
        if rng.random() < 0.6:
            header = damage_json(header, rng)
        if rng.random() < 0.6:
            tensors = damage_tensors(tensors, rng)
        is_sound(repaired(header, tensors))


def test_damaged_messages() -> None:
    check(2_000, seed=11)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_damaged_messages() -> None:
    check(100_000, seed=12)


def test_whole_messages_are_sound() -> None:
    for message in originals():
        assert is_sound(repaired(dataclasses.asdict(message.header), message.tensors()))


@pytest.mark.parametrize(
    ("header", "tensors"),
    [
        ({"provenance": {"score": float("nan")}}, {}),
        ({"provenance": {"score": float("inf")}}, {}),
        ({"provenance": {"deep": nested(700)}}, {}),
        ({"positions": [0, -1, 2]}, {}),
        ({}, {"hidden_states": torch.randn(3, 4).to(torch.float8_e4m3fn)}),
        ({}, {"hidden_states": torch.randn(3, 4).to(torch.float8_e5m2)}),
        ({}, {"token_ids": torch.tensor([-1.5, float("nan"), 2.0])}),
        ({}, {"token_ids": torch.tensor([1, -2, 3])}),
        ({}, {"token_ids": torch.tensor([1, 2, 3], dtype=torch.complex64)}),
        ({}, {"token_ids": torch.tensor([[1, 2, 3]])}),
        ({}, {"text": torch.zeros(3, dtype=torch.int64)}),
        ({}, {"further": torch.zeros(3)}),
    ],
)
def test_what_no_hidden_message_has_is_refused(header: dict, tensors: dict) -> None:
    message = originals()[1]
    fields = {**dataclasses.asdict(message.header), **header}
    fields["dtype"] = str(tensors.get("hidden_states", torch.zeros(1)).dtype).removeprefix("torch.")
    assert not is_sound(repaired(fields, {**message.tensors(), **tensors}))


@pytest.mark.parametrize(
    "tensors",
    [
        {"hidden_states": torch.tensor(1.0)},
        {"segment_ids": torch.tensor([[-1, 0, 2], [0, 0, 1]])},
        {"segment_ids": torch.tensor([[-2, 0, 1], [0, 0, 1]])},
        {"position_ids": torch.tensor([[0, 0, -1], [0, 1, 2]])},
        {"next_position": torch.tensor([-1, 3])},
        {"segment_names": torch.frombuffer(bytearray(b'["a", 1]'), dtype=torch.uint8)},
        {"segment_names": torch.frombuffer(bytearray(b"[" * 5000 + b"]" * 5000), dtype=torch.uint8)},
    ],
)
def test_what_no_cache_message_has_is_refused(tensors: dict) -> None:
    message = originals()[3]
    assert not is_sound(repaired(dataclasses.asdict(message.header), {**message.tensors(), **tensors}))
