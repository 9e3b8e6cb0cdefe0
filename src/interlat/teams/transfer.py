"""What members send: the part of a KV cache that is passed on, which model may read it, and messages as files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast, get_args
from urllib.parse import quote

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interlat.engine.cache import KVCache
from interlat.engine.cache_message import check_cache
from interlat.engine.cache_selection import Criterion, select_positions
from interlat.engine.origin import Origin
from interlat.engine.protocol import Engine
from interlat.errors import InputError
from interlat.files import sha256_of
from interlat.messages import Message, load_message
from interlat.teams.team import Member, Team

LONGEST_NAME = 100
"""Largest number of characters in a file name. Longer names are cut and end with a digest."""


def check_team(team: Team, models: Mapping[str, Origin], *, allow_foreign_cache: bool = False) -> list[dict[str, str]]:
    """Check that the models of all members exist, have the layers that are passed on, and can read their inputs.

    Args:
        team: the team.
        models: origins of checkpoints or of loaded models, by the names that members use.
        allow_foreign_cache: see `interlat.engine.cache_message.check_cache`.

    Returns:
        The pairs with foreign caches: sender, receiver, the sender's model and what differs.

    Raises:
        InputError: a model is missing or has too few layers.
        MessageError: a member cannot read a cache.
    """
    for member in team.members:
        if member.model not in models:
            raise InputError(f"{member.name} needs the model {member.model!r}, which the team lacks; add it to models")
        model = models[member.model]
        if (most := max(member.layers, default=0)) > model.layer_count:
            raise InputError(f"layers of {member.name} is {most}, but {model.name} has {model.layer_count} layers")
    foreign = []
    for sender, receiver in team.cache_edges():
        reader, maker = models[receiver.model], models[sender.model]
        names = {"from": sender.name, "to": receiver.name}
        edge = (receiver.name, sender.name)
        if differing := check_cache(reader, maker, allow_foreign_cache=allow_foreign_cache, edge=edge):
            foreign.append({**names, "model": maker.label, "differs": differing})
    return foreign


def passed_on(
    member: Member,
    engine: Engine,
    cache: KVCache,
    next_inputs: Callable[[], Float[Tensor, "B 1 D"]] | None = None,
    seeds: Sequence[int] = (),
) -> KVCache:
    """The part of a member's KV cache that its receivers get, at its true positions.

    Args:
        member: the member. Its ``cache_transfer``, ``kept_fraction`` and ``layers`` decide which part is passed on.
        engine: the engine that made the cache.
        cache: the cache of B sequences.
        next_inputs: gives the inputs of one more latent step. Needed to select positions.
        seeds: one for each sequence, for random selection.
    """
    latents = _positions(cache, lambda name: name.endswith("/latents"))
    if member.cache_transfer == "own":
        cache = cache.trim(_positions(cache, lambda name: name.startswith(f"{member.name}/")))
    elif member.cache_transfer == "latents":
        cache = cache.trim(latents)
    elif member.cache_transfer in get_args(Criterion):
        assert next_inputs is not None, "a member that writes selects nothing"
        criterion = cast(Criterion, member.cache_transfer)
        cache = select_positions(
            engine, cache, criterion, member.kept_fraction, protected=latents, inputs=next_inputs(), seeds=seeds
        )
    return cache.only_layers(member.layers) if member.layers else cache


def bytes_of_position(member: Member, cache: KVCache) -> int:
    """Bytes of the keys and values that one position of one sequence takes in a member's message."""
    pairs = enumerate(zip(cache.keys, cache.values, strict=True), 1)
    tensors = [t for number, pair in pairs if not member.layers or number in member.layers for t in pair]
    # As int8 each head has a scale of four bytes.
    return sum(t.shape[1] * (t.shape[3] + 4 if member.int8 else t.shape[3] * t.element_size()) for t in tensors)


def _positions(cache: KVCache, keep: Callable[[str], bool]) -> Bool[Tensor, "B T"]:
    """The positions of all segments whose names ``keep`` accepts."""
    positions = torch.zeros_like(cache.attention_mask)
    for name in filter(keep, cache.segment_names):
        positions = positions | cache.segment(name)
    return positions


def save_message(directory: str | Path, item: str, member: str, message: Message) -> None:
    """Save the message that a member sent about an item. Each item has a folder, each member a file in it.

    Raises:
        StorageError: the file system refused.
    """
    message.save(Path(directory) / _file_name(item) / f"{_file_name(member)}.safetensors")


def saved_messages(directory: str | Path, item: str) -> dict[str, Message]:
    """Load the messages about an item that `save_message` wrote, by the name of the member that sent them.

    Raises:
        MessageError: a file is damaged.
    """
    found = map(load_message, sorted((Path(directory) / _file_name(item)).glob("*.safetensors")))
    return {str(message.header.provenance["member"]): message for message in found}


def _file_name(name: str) -> str:
    # A name comes from a data set: it may hold slashes, dots and half characters.
    quoted = quote(name, safe=" ", errors="surrogatepass").replace(".", "%2E")
    return quoted if len(quoted) <= LONGEST_NAME else f"{quoted[:LONGEST_NAME]}-{sha256_of(quoted.encode())[:12]}"
