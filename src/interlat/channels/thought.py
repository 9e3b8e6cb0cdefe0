"""Sends K latent steps: a compressed sender takes them with its bridge, any other model without training."""

from collections.abc import Sequence
from dataclasses import replace

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput, think, thought_header
from interlat.channels.protocol import Channel, SendOptions, whole_number
from interlat.messages import Header


class ThoughtChannel(Channel):
    """The sender takes K latent steps without writing text, and sends their states.

    Args:
        argument: K. Empty means 8.
        trained: False takes untrained steps with the norm-matched identity, even if the sender has a bridge.
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
