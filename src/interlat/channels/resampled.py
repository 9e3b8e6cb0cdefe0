"""Sends a few latents that a trained Perceiver resampler makes from the states of a written plan."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from interlat.agents.agent import Agent
from interlat.agents.sender import Clock, SenderOutput
from interlat.channels.hidden import HiddenChannel
from interlat.channels.protocol import SendOptions
from interlat.connectors.base import padded_rows
from interlat.connectors.resampler import Resampler
from interlat.errors import InputError
from interlat.messages import Header, HiddenMessage, Message

RESAMPLING = "resampling"
"""Phase: the resampler reads a message."""


class ResampledChannel(HiddenChannel):
    """The sender writes a plan, and a resampler compresses its states into the K latents that are sent.

    Args:
        latents: K.
        resampler: the resampler that was trained with this sender for this receiver.
    """

    def __init__(self, latents: int, resampler: Resampler) -> None:
        self.latents = latents
        self.resampler = resampler
        self.name = self.source = f"resampled:{latents}"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        made = super().make(sender, texts, keys, options)
        # As they would travel and as they were stored for its training.
        messages = [super(ResampledChannel, self).message(one, options) for one in made]
        whole = [(number, one) for number, one in enumerate(messages) if isinstance(one, HiddenMessage)]
        if not whole:
            return made
        clock = Clock(len(whole))
        rows, mask = padded_rows([message.hidden_states for _, message in whole], self.resampler.queries.device)
        with torch.no_grad():
            summed = self.resampler(rows, mask, self.latents).to(options.dtype or sender.engine.dtype).cpu()
        clock.lap(RESAMPLING)
        for (number, message), latents in zip(whole, summed, strict=True):
            header = replace(message.header, positions=(), sha256="")
            made[number] = replace(
                made[number],
                message=HiddenMessage(latents, header=header),
                seconds={**made[number].seconds, **clock.seconds},
            )
        return made

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        return made.message

    def header(self, sender: Agent) -> Header:
        """See `Channel.header`. Raises InputError if the resampler was trained on the states of another sender."""
        trained, found = self.resampler.config.sender_fingerprint, sender.engine.weights_fingerprint
        if trained not in ("", found):
            raise InputError(
                f"the resampler was trained on the states of the model [{trained[:12]}], but the sender "
                f"{sender.engine.name} is [{found[:12]}]; give the sender that it was trained with"
            )
        return super().header(sender)
