"""K latent steps: of a compressed sender through its bridge, of any other model untrained."""

from collections.abc import Sequence
from dataclasses import replace

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput, think, thought_header
from interlat.channels.protocol import Channel, SendOptions, whole_number
from interlat.messages import Header


class ThoughtChannel(Channel):
    """The sender takes K latent steps without a word, and their states travel.

    Args:
        argument: K; 8 where it is empty.
        trained: False takes untrained steps, with the norm-matched identity, also where the sender has a bridge.
    """

    kind = "hidden"

    def __init__(self, argument: str = "", *, trained: bool = True) -> None:
        self.steps = whole_number("thought", argument or "8")
        self.trained = trained
        self.name = f"thought:{self.steps}"
        self.source = f"think:{self.steps}" if trained else f"untrained:{self.steps}"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        return think(sender, texts, self.steps, connector=None if self.trained else sender.identity)

    def header(self, sender: Agent) -> Header:
        bridge = sender.bridge if self.trained else None
        size = sender.engine.hidden_size if bridge is None else bridge.config.message_size
        return replace(thought_header(sender, bridge, range(0), {}), kind="hidden", shape=(self.steps, size))
