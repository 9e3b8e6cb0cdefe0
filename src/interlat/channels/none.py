"""Sends no message: the receiver works alone."""

from collections.abc import Sequence

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Channel, SendOptions


class NoChannel(Channel):
    """The sender does nothing and sends nothing."""

    name = source = "none"
    kind = "none"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        return [SenderOutput(None) for _ in texts]

    def header(self, sender: Agent) -> None:
        return None
