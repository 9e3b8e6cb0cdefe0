"""No message: what the receiver does alone."""

from collections.abc import Sequence

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Channel, SendOptions


class NoChannel(Channel):
    """Nothing travels, and the sender does nothing."""

    name = source = "none"
    kind = "none"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        return [SenderOutput(None) for _ in texts]

    def header(self, sender: Agent) -> None:
        return None
