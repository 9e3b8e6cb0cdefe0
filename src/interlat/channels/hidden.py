"""The hidden states of a written plan (Interlat, arXiv 2511.09149)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput, write
from interlat.channels.protocol import Kind, SendOptions, no_argument
from interlat.engine.cache_message import header_of
from interlat.messages import Header, HiddenMessage, Message


class HiddenChannel:
    """The sender writes a plan, and its last layer's states travel instead of the words, one latent a token."""

    name, source = "hidden", "write"
    kind: Kind = "hidden"

    def __init__(self, argument: str = "") -> None:
        no_argument(self.name, argument)

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        """See `Channel.make`."""
        return write(sender, texts, options.sampling, [sender.seed(options.seed, key) for key in keys])

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """See `Channel.message`."""
        return in_dtype(made.message, options.dtype)

    def header(self, sender: Agent) -> Header | None:
        """See `Channel.header`."""
        return replace(header_of(sender.engine), kind="hidden", shape=(1, sender.engine.hidden_size))


def in_dtype(message: Message | None, dtype: torch.dtype | None) -> Message | None:
    """A hidden message in the number format in which it travels."""
    if not isinstance(message, HiddenMessage) or dtype is None:
        return message
    return replace(message, hidden_states=message.hidden_states.to(dtype))
