"""What senders make in a run: once for all channels and controls that use it, within a limit of memory."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Channel, SendOptions
from interlat.errors import PromptError

MOST_BYTES = 4 * 2**30
"""Bytes of messages that are kept for other controls of the same items."""


class Sends:
    """Makes what senders make for the items of a run, in the batches of the run.

    Args:
        texts: item -> what its sender reads.
        batch_size: items in one batch.
        options: how senders send.
        most_bytes: beyond it, what was used longest ago is made again when it is needed again.
    """

    def __init__(
        self, texts: Mapping[str, str], batch_size: int, options: SendOptions, most_bytes: int = MOST_BYTES
    ) -> None:
        self.texts = dict(texts)
        self.options = options
        self.most_bytes = most_bytes
        ids = list(self.texts)
        self._batches = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
        self._batch_of = {item: number for number, batch in enumerate(self._batches) for item in batch}
        self._kept: OrderedDict[tuple[str, str, int], list[SenderOutput]] = OrderedDict()
        self._bytes = 0

    def of(self, channel: Channel, sender_name: str, sender: Agent, items: Sequence[str]) -> list[SenderOutput]:
        """What a sender makes for some items, each in the batch that it always has.

        Args:
            channel: makes it.
            sender_name: tells senders apart.
            sender: who makes it.
            items: any of the run.
        """
        if self._most_are_too_many(channel, sender_name) and not self._are_one_batch(items):
            return self._made(channel, sender, items)
        found: dict[str, SenderOutput] = {}
        for number in dict.fromkeys(self._batch_of[item] for item in items):
            made = self._batch(channel, sender_name, sender, number)
            found.update(zip(self._batches[number], made, strict=True))
        return [found[item] for item in items]

    def _are_one_batch(self, items: Sequence[str]) -> bool:
        return len({self._batch_of[item] for item in items}) == 1

    def _most_are_too_many(self, channel: Channel, sender_name: str) -> bool:
        """Whether the messages of all items would not be kept at once: then others' are made apart, where needed."""
        made = [one for key, batch in self._kept.items() if key[:2] == (channel.source, sender_name) for one in batch]
        return _bytes_of(made) * len(self.texts) > self.most_bytes * len(made)

    def _batch(self, channel: Channel, sender_name: str, sender: Agent, number: int) -> list[SenderOutput]:
        key = (channel.source, sender_name, number)
        if key not in self._kept:
            batch = self._batches[number]
            made = self._made(channel, sender, batch)
            self._kept[key] = made
            self._bytes += _bytes_of(made)
            while self._bytes > self.most_bytes and len(self._kept) > 1:
                self._bytes -= _bytes_of(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(key)
        return self._kept[key]

    def _made(self, channel: Channel, sender: Agent, items: Sequence[str]) -> list[SenderOutput]:
        """What a channel makes of some items, one batch; a text that does not fit fails its own item alone."""
        try:
            return channel.make(sender, [self.texts[item] for item in items], items, self.options)
        except PromptError as error:
            if len(items) == 1:
                return [SenderOutput(None, failure=str(error))]
        return [one for item in items for one in self._made(channel, sender, [item])]


def _bytes_of(made: Sequence[SenderOutput]) -> int:
    return sum(one.message.byte_size for one in made if one.message is not None)
