"""Sends the sender's KV cache, which the receiver continues (LatentMAS, arXiv 2511.20639)."""

from collections.abc import Sequence
from dataclasses import replace

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput, think, write
from interlat.channels.protocol import Channel, SendOptions, whole_number
from interlat.engine.cache_message import header_of
from interlat.messages import Header


class CacheChannel(Channel):
    """Sends the keys and values of everything that the sender has read and made. Both agents have the same model.

    Args:
        argument: K for K latent steps. Empty lets the sender write a plan.
    """

    kind = "cache"

    def __init__(self, argument: str = "") -> None:
        self.steps = whole_number("cache", argument) if argument else 0
        self.name = self.source = f"cache:{argument}" if argument else "cache"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        if self.steps:
            return think(sender, texts, self.steps, cache=True)
        return write(sender, texts, options.sampling, [sender.seed(options.seed, key) for key in keys], cache=True)

    def header(self, sender: Agent) -> Header:
        return replace(header_of(sender.engine), kind="cache", rules=sender.engine.origin.rules)
