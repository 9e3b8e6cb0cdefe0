"""A cache as a message that can be saved, sent and read by another process."""

from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from interlat.engine.cache import KVCache, layer_shapes
from interlat.engine.origin import Origin
from interlat.engine.protocol import Engine
from interlat.errors import MessageError
from interlat.messages import CacheMessage, Header

FOREIGN = "foreign_cache"
"""Where the provenance of a message names other models that its positions come from."""
_SHARED = {field.name for field in fields(KVCache)} & {field.name for field in fields(CacheMessage)}
_SCALES = {"keys": "key_scales", "values": "value_scales"}


def header_of(engine: Engine, provenance: dict[str, Any] | None = None) -> Header:
    """The part of a message's header that says which model made it; for states of the last layer, after its norm."""
    return Header(
        model=engine.name,
        revision=engine.revision,
        weights_fingerprint=engine.weights_fingerprint,
        tokenizer_fingerprint=engine.tokenizer_fingerprint,
        provenance=provenance or {},
    )


def origin_of(header: Header, message: CacheMessage | None = None) -> Origin:
    """The model that made a message, by its header; and by its body, if that is a cache."""
    name, weights, tokenizer = header.model, header.weights_fingerprint, header.tokenizer_fingerprint
    maker = Origin(name or "an unnamed model", header.rules, lambda: weights, lambda: tokenizer)
    if message is not None:
        maker.shapes, maker.hidden_size = layer_shapes(message), message.hidden_states.shape[1]
    return maker


def check_cache(
    reader: Origin, maker: Origin, *, allow_foreign_cache: bool = False, edge: tuple[str, str] | None = None
) -> str:
    """Check that one model can read the caches of another: the one check of messages, teams and checkpoints.

    Weights are compared where both models are loaded or the maker is known by a header.

    Args:
        reader: continues the cache.
        maker: made it.
        allow_foreign_cache: also take the cache of another model of the same shape; its meaning to the reader is
            unknown.
        edge: names of reader and sender in a team, for the error text.

    Returns:
        What differs; empty if nothing does.

    Raises:
        MessageError: layers, heads or sizes differ; or, unless it is allowed, the rotary positions, another field of
            the configuration, the architecture, the tokenizer or the weights.
    """
    known = bool(reader.shapes and maker.shapes)
    who = f"{edge[0]} cannot read the cache of {edge[1]}: " if edge else ""
    if known and (reader.shapes, reader.hidden_size) != (maker.shapes, maker.hidden_size):
        raise MessageError(
            f"{who}the cache of {maker.name} has {maker.shape}, but {reader.name} has {reader.shape}; a cache is for "
            "the model that made it, send hidden states or text between these two"
        )
    differing = reader.differences(maker, weights=known)
    if differing and not allow_foreign_cache:
        raise MessageError(
            f"{who}it was made by another model ({maker.name}) than {reader.name}: {differing}; load the "
            "model that made it, or allow a foreign cache (--allow-foreign-cache)"
        )
    return differing


def message_of_cache(
    engine: Engine, cache: KVCache, provenance: dict[str, Any] | None = None, *, int8: bool = False
) -> CacheMessage:
    """The cache of one or more conversations as a message.

    Args:
        provenance: what else should be known; JSON values. Models that positions come from, other than the engine's,
            are named under ``foreign_cache``.
        int8: round keys and values, see `rounded`; otherwise nothing is.

    Raises:
        MessageError: the cache is empty, or the engine's caches stay in it.
        InputError: another engine made it.
    """
    engine.check_caches_travel(int8=int8)
    engine.check_cache(cache)
    foreign = [name for name in cache.foreign if name != engine.origin.label] if cache.foreign else []
    if foreign:
        provenance = {**(provenance or {}), FOREIGN: foreign}
    cache = engine.outgoing(cache)
    body = {name: getattr(cache, name) for name in _SHARED}
    message = CacheMessage(**body, header=replace(header_of(engine, provenance), rules=engine.origin.rules))
    return as_int8(message) if int8 else message


def as_int8(message: CacheMessage) -> CacheMessage:
    """The message with its keys and values rounded, see `rounded`, and the scales that they are multiplied by."""
    body: dict[str, Any] = {}
    for name, scales in _SCALES.items():
        body[name], body[scales] = zip(*map(_as_int8, getattr(message, name)), strict=True)
    return replace(message, **body)


def cache_of_message(engine: Engine, message: CacheMessage, *, allow_foreign_cache: bool = False) -> KVCache:
    """The cache in a message, on the engine's device and in its dtype.

    Args:
        allow_foreign_cache: also take a message of another model of the same shape, such as another fine-tuning of one
            base; what it then means to the reader is not known. The cache names that model (`KVCache.foreign`).

    Raises:
        MessageError: the message was made by another model or tokenizer, or by a model of another shape.
    """
    engine.check_caches_travel()
    maker = origin_of(message.header, message)
    differing = check_cache(engine.origin, maker, allow_foreign_cache=allow_foreign_cache)
    foreign = message.header.provenance.get(FOREIGN) or []
    body = {name: getattr(message, name) for name in _SHARED}
    if message.key_scales:
        for name, scales in _SCALES.items():
            body[name] = map(_from_int8, body[name], getattr(message, scales))

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(engine.device, engine.dtype) if value.is_floating_point() else value.to(engine.device)
        return value if value is None or isinstance(value, str) else tuple(map(moved, value))

    cache = KVCache(
        **{name: moved(value) for name, value in body.items()},
        origin=engine.origin,
        foreign=(*map(str, foreign), *([maker.label] if differing else [])),
    )
    return engine.incoming(cache)


def rounded(cache: KVCache) -> KVCache:
    """The cache as it arrives when its keys and values travel as int8.

    A position of a head becomes ``q = x / s``, rounded to the nearest integer, with ``s = max|x| / 127`` in float32:
    one byte a number and four bytes a position of a head. What is off is at most s / 2.
    """

    def once(layer: Float[Tensor, "B H T d"]) -> Float[Tensor, "B H T d"]:
        return _from_int8(*_as_int8(layer)).to(layer.dtype)

    return replace(cache, keys=tuple(map(once, cache.keys)), values=tuple(map(once, cache.values)), spare=None)


def _as_int8(layer: Float[Tensor, "B H T d"]) -> tuple[Int8[Tensor, "B H T d"], Float[Tensor, "B H T"]]:
    wide = layer.float()
    scales = wide.abs().amax(dim=-1) / 127
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    return (wide / scales[..., None]).round().to(torch.int8), scales


def _from_int8(layer: Int8[Tensor, "B H T d"], scales: Float[Tensor, "B H T"]) -> Float[Tensor, "B H T d"]:
    return layer.float() * scales[..., None]
