"""A plan in words."""

from collections.abc import Sequence
from dataclasses import replace

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput, write
from interlat.channels.protocol import Kind, SendOptions
from interlat.engine.cache_message import header_of
from interlat.errors import InputError
from interlat.messages import Header, Message, TextMessage
from interlat.reasoning import final_part


class TextChannel:
    """The sender writes, and the final part of what it wrote travels, without its thoughts.

    Args:
        argument: ``sampled`` samples the plan at temperature 1, whatever the options say.
    """

    kind: Kind = "text"

    def __init__(self, argument: str = "") -> None:
        if argument not in ("", "sampled"):
            raise InputError(f"channel text:{argument} is unknown; write text or text:sampled")
        self.temperature = 1.0 if argument else None
        self.name = f"text:{argument}" if argument else "text"
        self.source = "write:sampled" if argument else "write"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        """See `Channel.make`."""
        sampling = options.sampling
        if self.temperature is not None:
            sampling = replace(sampling, temperature=self.temperature)
        return write(sender, texts, sampling, [sender.seed(options.seed, key) for key in keys])

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """See `Channel.message`."""
        text = final_part(made.text) or ""
        if made.message is None or not text.strip():
            return None
        header = made.message.header
        return TextMessage(text, replace(header, positions=(), sha256=""))

    def header(self, sender: Agent) -> Header | None:
        """See `Channel.header`."""
        return replace(header_of(sender.engine), kind="text")
