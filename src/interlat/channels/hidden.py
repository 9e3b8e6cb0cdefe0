"""Sends the hidden states of a written plan (Interlat, arXiv 2511.09149)."""

from dataclasses import replace

from interlat.agents.agent import Agent
from interlat.channels.protocol import Channel
from interlat.engine.cache_message import header_of
from interlat.messages import Header


class HiddenChannel(Channel):
    """The sender writes a plan and sends its last layer's states instead of the words, one latent for each token."""

    name = "hidden"
    kind = "hidden"

    def header(self, sender: Agent) -> Header:
        return replace(header_of(sender.engine), kind="hidden", shape=(1, sender.engine.hidden_size))
