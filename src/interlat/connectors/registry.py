"""The registry of connectors, and how one is named with its options on one line. Needs no torch.

Another package adds a connector in one file: a builder ``(engine, **options) -> Connector``, and an entry point in the
group ``interlat.connectors``.
"""

from collections.abc import Callable
from typing import Any

from interlat.config import did_you_mean
from interlat.errors import InputError
from interlat.registry import Registry

CONNECTORS: Registry[Callable[..., Any]] = Registry(
    "connectors",
    {
        "identity": "interlat.connectors.identity:NormMatchedIdentity.for_engine",
        "random": "interlat.connectors.identity:RandomRotation.for_engine",
        "ridge": "interlat.connectors.ridge:ridge_map",
        "vocabulary": "interlat.connectors.vocabulary:VocabularyMean.for_engine",
        "topk": "interlat.connectors.top_tokens:TopTokenMean.for_engine",
        "bridge": "interlat.connectors.bridge:Bridge.for_engine",
        "adapter": "interlat.connectors.adapter:CommunicationAdapter.for_engine",
        "resampler": "interlat.connectors.resampler:Resampler.for_engine",
    },
)
"""Builders by name. The first six map one state to the next input, the last two a whole message."""


def parse_connector(text: str) -> tuple[str, dict[str, str]]:
    """Name and options of a connector that is written on one line: ``vocabulary:temperature=0.7``, ``topk:k=10``.

    Args:
        text: the name, and after a colon options as ``name=value`` with commas between them.

    Raises:
        InputError: there is no such connector, or an option has no value.
    """
    name, _, listed = text.partition(":")
    if name not in CONNECTORS:
        known = CONNECTORS.names()
        raise InputError(
            f"connector is {text!r}, expected one of {', '.join(known)}{did_you_mean(name, known)}; correct it"
        )
    options: dict[str, str] = {}
    for one in filter(None, listed.split(",")):
        option, equals, value = one.partition("=")
        if not (option and equals and value) or option in options:
            raise InputError(f"connector is {text!r}, expected options such as {name}:option=value,other=value")
        options[option] = value
    return name, options
