"""Sends a plan as text."""

from collections.abc import Sequence
from dataclasses import replace

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Channel, SendOptions
from interlat.errors import InputError
from interlat.messages import Message, TextMessage
from interlat.reasoning import final_part


class TextChannel(Channel):
    """The sender writes a plan and sends its final part, without the reasoning before it.

    Args:
        argument: ``sampled`` samples the plan at temperature 1 and overrides the temperature of the options.
    """

    kind = "text"

    def __init__(self, argument: str = "") -> None:
        if argument not in ("", "sampled"):
            raise InputError(f"channel text:{argument} is unknown; write text or text:sampled")
        self.sampled = bool(argument)
        self.name, self.source = ("text:sampled", "write:sampled") if argument else ("text", "write")

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        sampling = replace(options.sampling, temperature=1.0) if self.sampled else options.sampling
        return super().make(sender, texts, keys, replace(options, sampling=sampling))

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        text = final_part(made.text) or ""
        if made.message is None or not text.strip():
            return None
        return TextMessage(text, replace(made.message.header, positions=(), sha256=""))
