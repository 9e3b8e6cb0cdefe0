"""Several conversations of one receiver side by side, each opened with its message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from interlat.agents.sender import Clock
from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import CachedSequence, KVCache, join_sequences
from interlat.engine.cache_message import cache_of_message
from interlat.engine.prompt import prompt_length, tokenize
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.messages import CacheMessage, Message
from interlat.reasoning import final_part

if TYPE_CHECKING:
    from interlat.agents.agent import Agent

ADAPTER, READING, REPLYING = "adapter", "receiver_prefill", "receiver_decode"
"""Phases of a receiver: it takes messages in, reads, writes."""


@dataclass(frozen=True)
class Turn:
    """One reply in one conversation."""

    text: str
    """The final part of what was written; empty where a thought did not end."""
    written: str
    """All that was written, thoughts included."""
    stopped: bool
    """Whether the model ended its turn itself."""
    tokens: int
    """Tokens that were written."""
    prompt_tokens: int
    """Positions read before it since the beginning: prompts, messages, what followed; without a message's cache."""
    forward_passes: int
    """Passes of the batch that the turn took part in, the reading included."""


class Talk(Protocol):
    """Conversations side by side, as an environment plays them."""

    running: list[int]
    """The conversations that go on, by their numbers."""
    clock: Clock

    def reply(self, sampling: Sampling, seeds: Sequence[int] | None = None) -> list[Turn]:
        """The next reply in every running conversation, in their order.

        Args:
            sampling: how to decode.
            seeds: one for each running conversation, where it samples.
        """
        ...

    def go_on(self, rows: Sequence[int], texts: Sequence[str]) -> None:
        """Leave out all running conversations but some, and read what is said to these.

        Args:
            rows: places among the running ones.
            texts: the next user turn of each.
        """
        ...


class Conversations(Talk):
    """Conversations at different lengths in one batch; what one says never depends on the others.

    Args:
        agent: the receiver.
        texts: the first user turns.
        messages: one for each; all of them caches, or none.
        spare: tokens of a reply that room is kept for, so that writing it copies nothing.

    Raises:
        CheckpointError, MessageError, PromptError: as `Agent.reply`.
    """

    def __init__(
        self, agent: "Agent", texts: Sequence[str], messages: Sequence[Message | None], spare: int = 0
    ) -> None:
        self.agent = agent
        self.running = list(range(len(texts)))
        self.clock = Clock(len(texts))
        latents = agent.read_many(messages)
        self.clock.lap(ADAPTER)
        prompts, memory = agent.prompts(texts, messages, latents)
        self._before = [0] * len(texts) if memory is None else memory.next_position.tolist()
        self._written = [0] * len(texts)
        self._spare = spare
        self._memory = agent.engine.prefill(prompts, memory, spare=spare)
        self.clock.lap(READING)

    def reply(self, sampling: Sampling, seeds: Sequence[int] | None = None) -> list[Turn]:
        engine, opened = self.agent.engine, self.agent.chat.opened_thought
        decoded = engine.decode(self._memory, sampling, seeds)
        self.clock.lap(REPLYING)
        turns = []
        for row, number in enumerate(self.running):
            count = len(decoded.token_ids[row])
            read = int(self._memory.next_position[row]) - self._before[number] - self._written[number]
            self._written[number] += count
            text = opened + decoded.texts[row]
            turns.append(
                Turn(final_part(text) or "", text, decoded.stopped[row], count, read, decoded.forward_passes + 1)
            )
        self._memory = decoded.cache
        return turns

    def go_on(self, rows: Sequence[int], texts: Sequence[str]) -> None:
        self.running = [self.running[row] for row in rows]
        self.clock.items = max(1, len(rows))
        if rows:
            agent = self.agent
            prompts = [tokenize(agent.chat.continuation(text), agent.engine.tokenizer) for text in texts]
            longest = max(prompt_length(prompt) for prompt in prompts)
            memory = KeyValueBuffer.selecting(self._memory, rows, longest + self._spare)
            self._memory = agent.engine.prefill(prompts, memory, spare=self._spare)
        self.clock.lap(READING)


def caches_of(agent: "Agent", messages: Sequence[Message | None]) -> KVCache | None:
    """The caches of some messages as one, checked and on the agent's device; None where no message is a cache.

    Raises:
        InputError: only some of them are caches, or one holds several conversations.
        MessageError: one was made by another model.
    """
    if not any(isinstance(message, CacheMessage) for message in messages):
        return None
    rows = []
    for message in messages:
        if not isinstance(message, CacheMessage):
            kind = "no message" if message is None else f"a {message.kind} message"
            raise InputError(f"{kind} came beside KV caches, expected a cache for each text; ask for them apart")
        if len(message.next_position) != 1:
            raise InputError(
                f"the cache message holds {len(message.next_position)} conversations, expected one; send each alone"
            )
        rows.append(CachedSequence(cache_of_message(agent.engine, message)))
    return join_sequences(rows)
