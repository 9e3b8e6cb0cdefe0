"""The protocol of every channel, and the registry that knows them by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.messages import Header, Message
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


class Channel(Protocol):
    """What a sender makes of its texts, and how it becomes a message."""

    name: str
    """As the user writes it, such as ``thought:8``."""
    kind: Kind
    """What the receiver gets."""
    source: str
    """What the sender does. Channels of one source share what it made."""

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        """Let the sender work on some texts, one batch; ``keys`` seed its samples."""
        ...

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """What travels of it; None where nothing does."""
        ...

    def header(self, sender: Agent) -> Header | None:
        """The header that its messages will have, to be checked before any is made; None where no message travels."""
        ...


CHANNELS: Registry[Callable[[str], Channel]] = Registry(
    "channels",
    {
        "none": "interlat.channels.none:NoChannel",
        "text": "interlat.channels.text:TextChannel",
        "hidden": "interlat.channels.hidden:HiddenChannel",
        "thought": "interlat.channels.thought:ThoughtChannel",
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


def no_argument(channel: str, argument: str) -> None:
    """Raise InputError if there is an argument."""
    if argument:
        raise InputError(f"channel {channel} takes nothing behind a colon, got {argument!r}; write {channel}")
