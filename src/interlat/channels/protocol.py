"""The base class of every channel, and the registry of channels by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.engine.cache_message import header_of
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.messages import Header, HiddenMessage, Message
from interlat.registry import Registry

Kind = Literal["none", "text", "hidden", "cache"]


@dataclass(frozen=True)
class SendOptions:
    """How senders make their messages."""

    sampling: Sampling = field(default_factory=Sampling)
    """How a plan is decoded."""
    seed: int = 0
    """Seed of sampled plans."""
    dtype: torch.dtype | None = torch.bfloat16
    """Number format in which hidden states are sent. None keeps the number format of the sender's model."""


class Channel:
    """What a sender does with its texts, and how the output becomes a message. Here the sender writes a plan.

    Args:
        argument: the part of the name after the colon, or an empty string.

    Raises:
        InputError: the channel does not take this argument, or takes none.
    """

    name: str
    """Name as the user writes it, such as ``thought:8``."""
    kind: Kind
    """Kind of message that the receiver gets."""
    source: str = "write"
    """Name of what the sender does. Channels with the same source share the sender's output."""

    def __init__(self, argument: str = "") -> None:
        if argument:
            raise InputError(f"channel {self.name} takes nothing behind a colon, got {argument!r}; write {self.name}")

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        """Run the sender on some texts as one batch. ``keys`` seed its samples."""
        return sender.written(texts, options.sampling, [sender.seed(options.seed, key) for key in keys])

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """The message of one output, with hidden states in the number format of the options. None sends nothing."""
        if not isinstance(made.message, HiddenMessage) or options.dtype is None:
            return made.message
        return replace(made.message, hidden_states=made.message.hidden_states.to(options.dtype))

    def header(self, sender: Agent) -> Header | None:
        """The header that its messages will have, for checks before any message is made. None if it sends nothing."""
        assert self.kind != "none", "has a header of its own"
        return replace(header_of(sender.engine), kind=self.kind)


CHANNELS: Registry[Callable[[str], Channel]] = Registry(
    "channels",
    {
        "none": "interlat.channels.none:NoChannel",
        "text": "interlat.channels.text:TextChannel",
        "hidden": "interlat.channels.hidden:HiddenChannel",
        "thought": "interlat.channels.thought:ThoughtChannel",
        "embeddings": "interlat.channels.embeddings:EmbeddingsChannel",
        "cache": "interlat.channels.cache:CacheChannel",
    },
)
"""Channels by name. Each is called with the argument after the colon, or with an empty string if there is none."""


def channel_named(name: str) -> Channel:
    """The channel ``name`` or ``name:argument``.

    Raises:
        InputError: there is no such channel, or it does not take this argument.
    """
    base, _, argument = name.partition(":")
    return CHANNELS[base](argument)


def whole_number(channel: str, argument: str) -> int:
    """The number of latent steps after the colon. Raises InputError if it is not a whole number of at least 1."""
    if not argument.isdecimal() or int(argument) < 1:
        raise InputError(
            f"channel {channel}:{argument} needs a number of latent steps of at least 1, as in {channel}:8"
        )
    return int(argument)
