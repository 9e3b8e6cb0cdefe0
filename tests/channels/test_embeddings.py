"""Words as input embeddings, against the words themselves."""

import pytest
import torch

from interlat.channels.embeddings import EmbeddingsChannel
from interlat.channels.protocol import SendOptions
from interlat.channels.text import TextChannel
from interlat.engine.sampling import Sampling
from interlat.errors import MessageError

OPTIONS = {"max_new_tokens": 6}


def test_input_embeddings_are_read_as_the_words_are(agents):
    sender, options, tasks = agents["sender"], SendOptions(Sampling(**OPTIONS)), ["find a mug", "put it on the stove"]
    messages = {}
    for channel in (TextChannel(), EmbeddingsChannel()):
        made = channel.make(sender, tasks, ["a", "b"], options)
        messages[channel.name] = [channel.message(one, options) for one in made]
    texts = ["Where is it?", "What is it?"]
    states = {}
    for name, sent in messages.items():
        prompts, _ = sender.prompts(texts, sent)
        states[name] = sender.engine.prefill_hidden(prompts)[1]
    for words, rows in zip(states["text"], states["embeddings"], strict=True):
        torch.testing.assert_close(words[-1], rows[-1], atol=1e-4, rtol=1e-4)
    assert [one.header.layer for one in messages["embeddings"]] == [0, 0]
    with pytest.raises(MessageError, match="other weights"):
        agents["words"].reply("Where is it?", messages["embeddings"][0], **OPTIONS)
