"""Messages: what is written is what is read, and what was damaged is refused in one sentence."""

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from interlat.errors import MessageError, StorageError
from interlat.files import sha256_of
from interlat.messages import (
    CacheMessage,
    Header,
    HiddenMessage,
    Message,
    TextMessage,
    from_bytes,
    load_message,
)

HEADER = Header(
    model="tiny",
    revision="local",
    weights_fingerprint="ab" * 32,
    tokenizer_fingerprint="cd" * 32,
    provenance={"task": "put the kettle on the stove", "seed": 3},
)


def hidden(rows: int = 3, size: int = 4, dtype: torch.dtype = torch.float32, **fields: Any) -> HiddenMessage:
    generator = torch.Generator().manual_seed(rows)
    states = torch.randn(rows, size, generator=generator).to(dtype)
    return HiddenMessage(states, **{"text": "find kettle", "token_ids": tuple(range(rows)), "header": HEADER, **fields})


def cache(**fields: Any) -> CacheMessage:
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Any] = {
        "keys": tuple(torch.randn(2, 1, 3, 4, generator=generator) for _ in range(2)),
        "values": tuple(torch.randn(2, 1, 3, 4, generator=generator) for _ in range(2)),
        "attention_mask": torch.tensor([[False, True, True], [True, True, True]]),
        "position_ids": torch.tensor([[0, 0, 1], [0, 1, 2]]),
        "segment_ids": torch.tensor([[-1, 0, 1], [0, 0, 1]]),
        "segment_names": ("prompt", "latents"),
        "next_position": torch.tensor([2, 3]),
        "hidden_states": torch.randn(2, 5, generator=generator),
    }
    return CacheMessage(**{**tensors, "header": HEADER, **fields})


MAKERS: dict[str, Callable[[], Message]] = {
    "text": lambda: TextMessage("find the kettle, größer", HEADER),
    "hidden": hidden,
    "cache": cache,
}


@pytest.fixture(params=MAKERS)
def message(request: pytest.FixtureRequest) -> Message:
    return MAKERS[request.param]()


def test_what_is_saved_is_what_is_loaded(message: Message, tmp_path: Path) -> None:
    path = tmp_path / "new" / "message.safetensors"
    message.save(path)
    loaded = load_message(path)
    assert type(loaded) is type(message)
    assert loaded.to_bytes() == message.to_bytes()
    assert loaded.header.sha256 and not message.header.sha256
    assert loaded.byte_size == message.byte_size and loaded.latents == message.latents
    assert os.listdir(path.parent) == ["message.safetensors"]


def test_the_same_message_gives_the_same_bytes(message: Message) -> None:
    assert message.to_bytes() == message.to_bytes()
    assert from_bytes(message.to_bytes()).to_bytes() == message.to_bytes()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 5),
    size=st.integers(1, 6),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    text=st.text(max_size=12).filter(lambda text: text.isprintable()),
    with_tokens=st.booleans(),
    state_at=st.sampled_from(["before_token", "after_token"]),
    norm=st.sampled_from(["post", "pre"]),
    layer=st.integers(-40, 40),
    provenance=st.dictionaries(
        st.text(max_size=4), st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
    ),
)
def test_hidden_messages_survive_the_way(
    rows: int, size: int, dtype: torch.dtype, text: str, with_tokens: bool, **fields: Any
) -> None:
    header = Header(model="möbius", positions=tuple(range(7, 7 + rows)), **fields)
    message = hidden(rows, size, dtype, text=text, token_ids=tuple(range(rows)) if with_tokens else (), header=header)
    loaded = from_bytes(message.to_bytes())
    assert isinstance(loaded, HiddenMessage)
    assert loaded.to_bytes() == message.to_bytes()
    assert loaded.hidden_states.dtype == dtype and torch.equal(loaded.hidden_states, message.hidden_states)
    assert (loaded.text, loaded.token_ids) == (message.text, message.token_ids)
    assert loaded.header.provenance == fields["provenance"]


def unchanged_or_refused(data: bytes, original: Message) -> None:
    try:
        altered = from_bytes(data)
    except MessageError as error:
        assert "\n" not in str(error)
    else:
        assert altered.to_bytes() == original.to_bytes()


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_a_flipped_bit_anywhere_is_noticed_or_harmless(message: Message, flip: int) -> None:
    data = bytearray(message.to_bytes())
    for place in range(len(data)):
        data[place] ^= flip
        unchanged_or_refused(bytes(data), message)
        data[place] ^= flip


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(MAKERS)), place=st.integers(0), value=st.integers(0, 255))
def test_any_other_byte_anywhere_is_noticed_or_harmless(kind: str, place: int, value: int) -> None:
    message = MAKERS[kind]()
    data = bytearray(message.to_bytes())
    data[place % len(data)] = value
    unchanged_or_refused(bytes(data), message)


def test_every_truncation_is_noticed(message: Message) -> None:
    data = message.to_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(MessageError):
            from_bytes(data[:length])
    with pytest.raises(MessageError):
        from_bytes(data + b"\x00")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_no_message(data: bytes) -> None:
    with pytest.raises(MessageError, match="not a whole message file"):
        from_bytes(data)


def test_another_safetensors_file_is_no_message() -> None:
    with pytest.raises(MessageError, match="not a whole message file"):
        from_bytes(save({"hidden_states": torch.zeros(2, 2)}, {"format": "pt"}))


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(MessageError, match=r"cannot read the message .*nothing: No such file"):
        load_message(tmp_path / "nothing")
    with pytest.raises(MessageError, match="Is a directory"):
        load_message(tmp_path)


def forge(message: Message, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> bytes:
    """A file with valid checksums but the given body or header fields."""
    data = message.to_bytes()
    length = int.from_bytes(data[:8], "little")
    envelope = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["interlat"])
    envelope["header"] |= changes
    for name, value in list(envelope["header"].items()):
        if value is ...:
            del envelope["header"][name]
    canonical = json.dumps(envelope["header"], sort_keys=True, separators=(",", ":"))
    envelope["header_sha256"] = sha256_of(canonical.encode())
    return save(tensors or message.tensors(), {"interlat": json.dumps(envelope)})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 2}, "version 2, expected interlat-message version 1"),
        ({"shape": [9, 4]}, r"announces float32 \[9, 4\] but its body is float32 \[3, 4\]"),
        ({"dtype": "float16"}, "announces float16"),
        ({"kind": "text"}, "not finite|does not fit|announces"),
        ({"kind": "cache"}, "expected at least one|does not fit"),
        ({"kind": "smell"}, "wrong type"),
        ({"layer": "last"}, "wrong type"),
        ({"norm": "none"}, "wrong type"),
        ({"positions": [0.5]}, "wrong type"),
        ({"positions": None}, "wrong type"),
        ({"model": ...}, "lacks a field"),
        ({"extra": 1}, "lacks a field or has one"),
        ({"rules": ["rope"]}, "wrong type"),
        ({"sha256": "0" * 64}, "body does not match its checksum"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        from_bytes(forge(hidden(), **changes))


def test_a_body_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MessageError, match="checksum"):
        from_bytes(forge(hidden(), tensors={"hidden_states": torch.zeros(3, 4)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    states = torch.zeros(3, 4)
    states[1, 2] = value
    with pytest.raises(MessageError, match="1 NaN or infinite values in hidden_states"):
        HiddenMessage(states)
    keys = (torch.full((2, 1, 3, 4), value), torch.zeros(2, 1, 3, 4))
    with pytest.raises(MessageError, match=r"24 NaN or infinite values in keys\.0"):
        cache(keys=keys)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (4,), (1, 3, 4)])
def test_a_message_without_latents_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MessageError, match="at least one latent"):
        HiddenMessage(torch.zeros(shape))


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match="empty"):
        TextMessage(text)


def test_parts_of_different_length_are_refused() -> None:
    with pytest.raises(MessageError, match="3 latents but 2 token ids"):
        hidden(token_ids=(1, 2))
    with pytest.raises(MessageError, match="3 latents but 1 positions"):
        hidden(header=Header(positions=(4,)))
    with pytest.raises(MessageError, match=r"hidden_states .* torch\.int64, expected float32"):
        HiddenMessage(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(MessageError, match="not JSON"):
        hidden(header=Header(provenance={"tensor": torch.zeros(1)}))
    with pytest.raises(MessageError, match="not valid Unicode"):
        TextMessage("\ud800 x")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"keys": ()}, "0 layers"),
        ({"keys": (torch.zeros(2, 1, 0, 4),)}, "nothing empty"),
        ({"values": (torch.zeros(2, 1, 3, 4),)}, r"values\.1 of"),
        ({"attention_mask": torch.ones(2, 2, dtype=torch.bool)}, "attention_mask of"),
        ({"attention_mask": torch.ones(2, 3)}, "attention_mask of"),
        ({"next_position": torch.zeros(3, dtype=torch.int64)}, "next_position of"),
        ({"hidden_states": torch.zeros(1, 5)}, "hidden_states of"),
        ({"values": (torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4).half())}, r"values\.1 of"),
    ],
)
def test_a_cache_whose_parts_disagree_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        cache(**fields)


def test_layers_that_share_their_memory_travel() -> None:
    message = cache()
    shared = dataclasses.replace(message, keys=(message.keys[0],) * 2, values=(message.values[0],) * 2)
    assert from_bytes(shared.to_bytes()).to_bytes() == shared.to_bytes()


def test_sizes_count_what_the_receiver_gets() -> None:
    assert TextMessage("über").byte_size == 5
    assert hidden(3, 4, torch.bfloat16).byte_size == 3 * 4 * 2
    assert hidden(3).latents == 3
    assert cache().byte_size == (4 * 24 + 10) * 4 + 6 + (6 + 6 + 2) * 8
    assert cache().latents == 3


def test_the_header_follows_the_body() -> None:
    message = hidden()
    assert (message.header.kind, message.header.dtype, message.header.shape) == ("hidden", "float32", (3, 4))
    cut = dataclasses.replace(message, hidden_states=message.hidden_states[:1].half(), token_ids=())
    assert (cut.header.dtype, cut.header.shape, cut.header.sha256) == ("float16", (1, 4), "")
    assert cut.to_bytes() != message.to_bytes()
    assert cache().header.shape == (2, 2, 1, 3, 4)


def test_gradients_and_views_can_be_saved(tmp_path: Path) -> None:
    states = torch.randn(8, 6, requires_grad=True)[::2, :3]
    HiddenMessage(states).save(tmp_path / "view")
    loaded = load_message(tmp_path / "view")
    assert isinstance(loaded, HiddenMessage) and torch.equal(loaded.hidden_states, states)


def test_a_full_disk_leaves_the_old_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "message"
    hidden(3).save(path)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space left"):
        hidden(5).save(path)
    assert load_message(path).to_bytes() == hidden(3).to_bytes()
    assert os.listdir(tmp_path) == ["message"]


def small(tensors):
    return {"tensors": tuple((t * 100).to(torch.int8) for t in tensors), "scales": tuple(t[..., 0] for t in tensors)}


def test_a_cache_in_eight_bits_has_a_scale_for_every_column_of_a_head(tmp_path):
    plain = cache()
    keys, values = small(plain.keys), small(plain.values)
    whole = {
        "keys": keys["tensors"], "values": values["tensors"],
        "key_scales": keys["scales"], "value_scales": values["scales"],
    }  # fmt: skip
    message = cache(**whole, layer_mask=torch.ones(2, 2, 3, dtype=torch.bool))
    message.save(tmp_path / "cache.safetensors")
    found = load_message(tmp_path / "cache.safetensors")
    assert found.to_bytes() == message.to_bytes() and found.header.dtype == "int8"
    assert torch.equal(found.value_scales[1], values["scales"][1]) and found.layer_mask.all()
    for left_out in ("key_scales", "value_scales"):
        with pytest.raises(MessageError, match=f"{left_out}.0, {left_out}.1 of the cache message do not fit"):
            cache(**{name: value for name, value in whole.items() if name != left_out})
    with pytest.raises(MessageError, match=r"key_scales.0, key_scales.1 of the cache message do not fit"):
        cache(key_scales=keys["scales"])
    with pytest.raises(MessageError, match=r"keys.1 of the cache message do not fit"):
        cache(**{**whole, "keys": (keys["tensors"][0], plain.keys[1])})
    broken = (torch.full_like(keys["scales"][0], torch.nan), keys["scales"][1])
    with pytest.raises(MessageError, match=r"NaN or infinite values in key_scales.0"):
        cache(**{**whole, "key_scales": broken})


def test_a_mask_of_layers_has_one_flag_a_layer_and_column():
    with pytest.raises(MessageError, match="layer_mask of the cache message do not fit"):
        cache(layer_mask=torch.ones(2, 3, 3, dtype=torch.bool))


SHAPES = (((2, 4, 3, 6), (2, 4, 3, 5)), ((2, 1, 3, 8), (2, 2, 3, 8)), ((2, 1, 3, 4), (2, 1, 3, 4)))
"""Keys and values of three layers: latent attention, heads that differ, and one as usual."""


def uneven(**fields: Any) -> CacheMessage:
    generator = torch.Generator().manual_seed(3)
    pairs = [[torch.randn(shape, generator=generator) for shape in layer] for layer in SHAPES]
    keys, values = zip(*pairs, strict=True)
    return cache(**{"keys": keys, "values": values, **fields})


@pytest.mark.parametrize("in_eight_bits", [False, True])
def test_a_cache_whose_keys_values_and_layers_differ_in_shape_travels(in_eight_bits: bool) -> None:
    message = uneven()
    if in_eight_bits:
        keys, values = small(message.keys), small(message.values)
        message = cache(
            keys=keys["tensors"], values=values["tensors"], key_scales=keys["scales"], value_scales=values["scales"]
        )
    found = from_bytes(message.to_bytes())
    assert isinstance(found, CacheMessage) and found.to_bytes() == message.to_bytes() and found.latents == 3
    assert found.header.shape == (3, 2, 3, 4, 6, 4, 5, 1, 8, 2, 8, 1, 4, 1, 4)
    numbers = sum(tensor.numel() for tensor in (*message.keys, *message.values))
    scales = sum(tensor[..., 0].numel() for tensor in (*message.keys, *message.values))
    others = cache().byte_size - sum(4 * tensor.numel() for tensor in (*cache().keys, *cache().values))
    assert message.byte_size == (numbers + 4 * scales if in_eight_bits else 4 * numbers) + others


@pytest.mark.parametrize(
    ("part", "layer", "shape"),
    [
        ("keys", 1, (1, 1, 3, 8)),
        ("values", 0, (2, 4, 2, 5)),
        ("values", 2, (2, 1, 3)),
        ("keys", 2, (2, 0, 3, 4)),
        ("values", 1, (2, 2, 3, 0)),
    ],
)
def test_a_layer_with_other_rows_or_columns_is_refused(part: str, layer: int, shape: tuple[int, ...]) -> None:
    tensors = list(getattr(uneven(), part))
    tensors[layer] = torch.zeros(shape)
    with pytest.raises(MessageError, match=rf"{part}\.{layer} of the cache message do not fit"):
        uneven(**{part: tuple(tensors)})


@pytest.mark.parametrize("place", range(15))
def test_a_header_that_announces_another_shape_of_a_layer_is_refused(place: int) -> None:
    message = uneven()
    shape = list(message.header.shape)
    shape[place] += 1
    with pytest.raises(MessageError, match=r"announces float32 \[.*\] but its body is float32"):
        from_bytes(forge(message, shape=shape, sha256=from_bytes(message.to_bytes()).header.sha256))


def test_a_cache_of_one_shape_has_the_header_that_it_always_had() -> None:
    assert cache().header.shape == (2, 2, 1, 3, 4)
    for message in (cache(), hidden()):
        assert b"rules" not in message.to_bytes(), "an older version reads it"
    rules = {"model_type": "llama", "rope_parameters.rope_theta": 1e4, "layer_types": ("full_attention",)}
    message = cache(header=Header(rules=rules))
    found = from_bytes(message.to_bytes())
    assert found.to_bytes() == message.to_bytes() and found.header.rules == {**rules, "layer_types": ["full_attention"]}
    assert from_bytes(forge(message, rules=..., sha256=found.header.sha256)).header.rules == {}
    with pytest.raises(MessageError, match="not JSON"):
        cache(header=Header(rules={"theta": float("nan")}))
