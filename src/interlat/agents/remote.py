"""An agent whose model runs behind an OpenAI-compatible server: a sender and receiver of text."""

import dataclasses
from collections.abc import Sequence

from interlat.agents.agent import Agent, Reply, one_for_each
from interlat.agents.conversations import READING, REPLYING, Talk, Turn
from interlat.agents.sender import PREFILL, THINKING, Clock, SenderOutput
from interlat.engine.cache_message import header_of
from interlat.engine.openai import ChatTurns, OpenAIEngine
from interlat.engine.sampling import Sampling
from interlat.errors import MessageError
from interlat.messages import Header, Message, TextMessage
from interlat.reasoning import final_part
from interlat.tasks.sources import PLACE_OF_TEXT, PLAN_REQUEST


@dataclasses.dataclass(frozen=True, eq=False)
class RemoteAgent(Agent):
    """Writes and replies in words; everything else is refused by name.

    Tokens are those that the server counts, and nobody knows its forward passes: they are given as 0.
    """

    engine: OpenAIEngine

    def written(self, tasks: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[SenderOutput]:
        clock = Clock(len(tasks))
        clock.lap(PREFILL)
        answers = self.engine.answers([self._opened(task, None, PLAN_REQUEST) for task in tasks], sampling, seeds)
        clock.lap(THINKING)
        made = []
        for task, answer in zip(tasks, answers, strict=True):
            header = header_of(self.engine, {"method": "write", "task": task, "stopped": answer.stopped})
            plan = TextMessage(answer.text, dataclasses.replace(header, kind="text")) if answer.text.strip() else None
            made.append(
                SenderOutput(
                    plan,
                    answer.text,
                    tokens=answer.prompt_tokens + answer.tokens,
                    seconds=clock.seconds,
                    failure="" if plan else f"{self.engine.name} wrote an empty plan",
                )
            )
        return made

    def converse(
        self, texts: Sequence[str], messages: Sequence[Message | None] | None = None, *, spare: int = 0
    ) -> "RemoteConversations":
        given = [None] * len(texts) if messages is None else messages
        return RemoteConversations(self, [self._opened(*pair) for pair in zip(texts, given, strict=True)])

    def reply(
        self,
        text: str,
        message: Message | None = None,
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
    ) -> Reply:
        limit = self._sampling(sampling, max_new_tokens)
        (answer,) = self.reply_many([text], [message], sampling=limit, seed=seed)
        if not answer and not answer.stopped:
            raise MessageError(
                f"{self.engine.name} was still thinking after {limit.max_new_tokens} tokens, so there is no answer; "
                "raise max_new_tokens"
            )
        return answer

    def reply_many(
        self,
        texts: Sequence[str],
        messages: Sequence[Message | None] | None = None,
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        batch_size: int = 16,
    ) -> list[Reply]:
        given = one_for_each(texts, messages)
        limit, replies = self._sampling(sampling, max_new_tokens), list[Reply]()
        for start in range(0, len(texts), batch_size):
            part = slice(start, start + batch_size)
            talk = self.converse(texts[part], given[part])
            turns = talk.reply(limit, [self.seed(seed, text) for text in texts[part]])
            replies += [Reply(turn.text, turn.stopped and final_part(turn.written) is not None) for turn in turns]
        return replies

    def check(self, header: Header) -> None:
        if header.kind != "text":
            raise MessageError(
                f"{self.engine.name} runs behind a server, which reads words only, got a message of the kind "
                f"{header.kind}; send text, or load the receiver here"
            )

    def check_sends(self, channel: str, kind: str) -> None:
        if kind not in ("none", "text"):
            raise MessageError(
                f"{self.engine.name} runs behind a server, which gives words only, so it cannot send over the channel "
                f"{channel}; use none and text, or load the sender here"
            )

    def check_speaks(self) -> None:
        """Nothing to check: the server writes the conversations."""

    @property
    def number_format(self) -> str:
        """Empty: the server does not say."""
        return ""

    def _opened(self, text: str, message: Message | None, default_template: str = PLACE_OF_TEXT) -> ChatTurns:
        content = "".join(part.text for part in self.settings.content(text, default_template))
        if isinstance(message, TextMessage):
            content += self.settings.connector + message.text
        elif message is not None:
            self.check(message.header)
        system = [{"role": "system", "content": self.settings.system_prompt}] if self.settings.system_prompt else []
        return [*system, {"role": "user", "content": content}]


class RemoteConversations(Talk):
    """Conversations that a server continues, all at once.

    Args:
        agent: the receiver.
        opened: the first turns of each.
    """

    def __init__(self, agent: RemoteAgent, opened: Sequence[ChatTurns]) -> None:
        self.agent = agent
        self.running = list(range(len(opened)))
        self.clock = Clock(len(opened))
        self._turns = [list(turns) for turns in opened]
        self._written = [0] * len(opened)
        self.clock.lap(READING)

    def reply(self, sampling: Sampling, seeds: Sequence[int] | None = None) -> list[Turn]:
        answers = self.agent.engine.answers([self._turns[number] for number in self.running], sampling, seeds)
        self.clock.lap(REPLYING)
        turns = []
        for number, answer in zip(self.running, answers, strict=True):
            read = max(0, answer.prompt_tokens - self._written[number])
            self._written[number] += answer.tokens
            self._turns[number].append({"role": "assistant", "content": answer.text})
            turns.append(Turn(final_part(answer.text) or "", answer.text, answer.stopped, answer.tokens, read, 0))
        return turns

    def go_on(self, rows: Sequence[int], texts: Sequence[str]) -> None:
        self.running = [self.running[row] for row in rows]
        self.clock.items = max(1, len(rows))
        for number, text in zip(self.running, texts, strict=True):
            self._turns[number].append({"role": "user", "content": text})
        self.clock.lap(READING)
