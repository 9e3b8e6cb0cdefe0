"""No message: what the receiver does alone."""

from collections.abc import Sequence

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Kind, SendOptions, no_argument
from interlat.messages import Header, Message


class NoChannel:
    """Nothing travels, and the sender does nothing."""

    name = source = "none"
    kind: Kind = "none"

    def __init__(self, argument: str = "") -> None:
        no_argument(self.name, argument)

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        """See `Channel.make`."""
        return [SenderOutput(None) for _ in texts]

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """See `Channel.message`."""
        return None

    def header(self, sender: Agent) -> Header | None:
        """See `Channel.header`."""
        return None
