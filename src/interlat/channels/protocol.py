"""The protocol of every channel, and the registry that knows them by name."""

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
    """How senders send."""

    sampling: Sampling = field(default_factory=Sampling)
    """How a plan is written."""
    seed: int = 0
    """Of sampled plans."""
    dtype: torch.dtype | None = torch.bfloat16
    """Number format in which hidden states travel; None keeps the number format of the sender's model."""


class Channel:
    """What a sender makes of its texts, and how it becomes a message. Here the sender writes a plan.

    Args:
        argument: the part of the name after the colon, or an empty string.

    Raises:
        InputError: an argument that makes no sense to the channel, such as any to one that takes none.
    """

    name: str
    """As the user writes it, such as ``thought:8``."""
    kind: Kind
    """What the receiver gets."""
    source: str = "write"
    """What the sender does. Channels of one source share what it made."""

    def __init__(self, argument: str = "") -> None:
        if argument:
            raise InputError(f"channel {self.name} takes nothing behind a colon, got {argument!r}; write {self.name}")

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        """Let the sender work on some texts, one batch; ``keys`` seed its samples."""
        return sender.written(texts, options.sampling, [sender.seed(options.seed, key) for key in keys])

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """What travels of it, hidden states in their number format; None where nothing does."""
        if not isinstance(made.message, HiddenMessage) or options.dtype is None:
            return made.message
        return replace(made.message, hidden_states=made.message.hidden_states.to(options.dtype))

    def header(self, sender: Agent) -> Header | None:
        """The header that its messages will have, to be checked before any is made; None where no message travels."""
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
"""Name -> what makes the channel of the argument behind a colon, which is empty where there is none."""


def channel_named(name: str) -> Channel:
    """The channel ``name`` or ``name:argument``.

    Raises:
        InputError: there is none, or the argument makes no sense to it.
    """
    base, _, argument = name.partition(":")
    return CHANNELS[base](argument)


def whole_number(channel: str, argument: str) -> int:
    """The number of latent steps behind a colon. Raises InputError if it is none."""
    if not argument.isdecimal() or int(argument) < 1:
        raise InputError(
            f"channel {channel}:{argument} needs a number of latent steps of at least 1, as in {channel}:8"
        )
    return int(argument)
