"""The words of a plan as the model's own input embeddings: what a perfect delivery of latents would be."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Channel, SendOptions
from interlat.engine.cache_message import header_of
from interlat.engine.prompt import Text, token_ids_of, tokenize
from interlat.messages import EMBEDDINGS_LAYER, Header, HiddenMessage, Message
from interlat.reasoning import final_part


class EmbeddingsChannel(Channel):
    """The sender writes a plan and sends the input embeddings of its tokens, one latent for each token.

    A receiver with the same weights reads them exactly like the words, so it answers as over the channel ``text``. If
    it does not, latents do not arrive as they were sent, and no training will fix that.
    """

    name = "embeddings"
    kind = "hidden"
    source = "write embeddings"

    def make(
        self, sender: Agent, texts: Sequence[str], keys: Sequence[str], options: SendOptions
    ) -> list[SenderOutput]:
        made = super().make(sender, texts, keys, options)
        return [replace(one, message=_embedded(sender, one)) for one in made]

    def message(self, made: SenderOutput, options: SendOptions) -> Message | None:
        """The message in the number format of the model, so that it is exactly what the model would read."""
        return made.message

    def header(self, sender: Agent) -> Header:
        return replace(
            header_of(sender.engine), kind="hidden", layer=EMBEDDINGS_LAYER, shape=(1, sender.engine.hidden_size)
        )


def _embedded(sender: Agent, made: SenderOutput) -> Message | None:
    text = final_part(made.text) or ""
    if made.message is None or not text.strip():
        return None
    engine = sender.engine
    # The tokens that a receiver makes of the words behind what stands before a message. They are not always those that
    # the sender wrote, and some tokenizers cut the beginning of a text in another way.
    literal, before = sender.settings.literal, Text(sender.settings.connector)
    ids, prefix = (
        token_ids_of(tokenize(parts, engine.tokenizer)) for parts in ([before, Text(text, literal)], [before])
    )
    if ids[: len(prefix)] == prefix:
        ids = ids[len(prefix) :]
    else:
        ids = token_ids_of(tokenize([Text(text, literal)], engine.tokenizer))
    rows = engine.embed(torch.tensor(ids, device=engine.device))
    return HiddenMessage(rows, text, tuple(ids), replace(made.message.header, layer=EMBEDDINGS_LAYER, positions=()))
