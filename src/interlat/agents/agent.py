"""An agent: a language model with a role. It writes messages, and replies to a text with or without a message."""

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interlat.agents.conversations import Conversations, Talk, caches_of
from interlat.agents.prompt import chat_prompt
from interlat.agents.sender import SenderOutput, think, write
from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.base import Connector, padded_rows
from interlat.connectors.bridge import Bridge
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.reader import Reader, reader_of
from interlat.engine.cache import CachedSequence, KVCache
from interlat.engine.cache_message import origin_of
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Latents, Part, Text, Tokens
from interlat.engine.protocol import Engine
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.streaming import Request
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.messages import EMBEDDINGS_LAYER, CacheMessage, Header, HiddenMessage, Message, TextMessage
from interlat.reasoning import final_part
from interlat.states import StateAt
from interlat.tasks.sources import PLACE_OF_TEXT, PLAN_REQUEST

DEFAULT_STEPS = 8
"""Default number of latent steps."""


class Reply(str):
    """An agent's answer: a string that also says whether the answer is complete."""

    stopped: bool
    """True if the model ended its turn, False if it ran out of tokens or context."""

    def __new__(cls, text: str, stopped: bool) -> "Reply":
        reply = super().__new__(cls, text)
        reply.stopped = stopped
        return reply


def one_for_each(texts: Sequence[str], messages: Sequence[Message | None] | None) -> list[Message | None]:
    """The message for each text, or None. Raises InputError if there are not as many messages as texts."""
    given: list[Message | None] = [None] * len(texts) if messages is None else list(messages)
    if isinstance(texts, str) or len(given) != len(texts):
        raise InputError(f"{len(given)} messages for {len(texts)} texts, expected a list of texts and one for each")
    return given


@dataclasses.dataclass(frozen=True, eq=False)
class Agent:
    """A model that writes, thinks and replies. Raises CheckpointError if its parts do not fit each other."""

    engine: Engine
    """Runs the model. The template arguments of the settings override its own."""
    adapter: CommunicationAdapter | None = None
    """Reads hidden messages. None if the model was not trained to read them."""
    settings: AgentSettings = dataclasses.field(default_factory=AgentSettings)
    """Prompts and sampling."""
    bridge: Bridge | None = None
    """The bridge of a compressed sender: it makes the inputs of the latent steps and the latents that are sent."""
    reader: Reader | None = None
    """Reads hidden messages of one sender without training. Not used if there is an adapter."""

    def __post_init__(self) -> None:
        template = self.settings.template.over(self.engine.template)
        if template != self.engine.template:
            object.__setattr__(self, "engine", self.engine.with_template(template))
        if self.bridge is not None:
            if self.bridge.source_size != self.engine.hidden_size:
                raise CheckpointError(
                    f"the bridge is of a model of size {self.bridge.source_size}, but {self.engine.name} has "
                    f"{self.engine.hidden_size}; load the bridge that was trained with this model"
                )
            self.bridge.to(self.engine.device).eval()
        if self.adapter is not None:
            size = self.adapter.target_size
            if size != self.engine.hidden_size:
                raise CheckpointError(
                    f"the adapter writes rows of size {size}, but {self.engine.name} reads "
                    f"{self.engine.hidden_size}; load the adapter that was trained with this model"
                )
            self.adapter.to(self.engine.device).eval()
        if self.marks_messages and self._delimiters is None:
            raise CheckpointError(
                f"the tokenizer of {self.engine.name} lacks {' or '.join(self._delimiter_tokens)}, which "
                "stand around a message; load the tokenizer that the model was trained with"
            )

    def write(
        self,
        task: str,
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        state_at: StateAt = "before_token",
    ) -> HiddenMessage:
        """Write a plan for ``task`` and keep the hidden states that it was written from.

        Args:
            task: text that goes into the prompt template.
            sampling: how the plan is decoded. The default is the sampling of the settings.
            max_new_tokens: largest number of tokens in the plan. The default is the limit of ``sampling``. The
                provenance of the message says under ``stopped`` whether the plan ended by itself.
            seed: seed of a sample. Greedy decoding does not use it.
            state_at: latent t is the state (last layer, after the final norm) that predicted plan token t
                ("before_token"), or the state that had just read it ("after_token").

        Returns:
            A message with ``hidden_states`` [T, D] in the model's dtype, one latent for each token, and the plan as
            ``text``.

        Raises:
            MessageError: the plan is empty.
            PromptError: the task is not text, or does not fit into the context.
        """
        chosen = self._sampling(sampling, max_new_tokens)
        return self.write_many([task], sampling=chosen, seed=seed, state_at=state_at)[0]

    def write_many(
        self,
        tasks: Sequence[str],
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        keys: Sequence[str] | None = None,
        state_at: StateAt = "before_token",
        batch_size: int = 16,
    ) -> list[HiddenMessage]:
        """Write a plan for each of several tasks. Each message is the same as `write` makes for its task alone.

        Args:
            tasks: texts that go into the prompt template.
            sampling, max_new_tokens, seed, state_at: as for `write`.
            keys: names of the tasks. They seed the samples. The default is the texts of the tasks.
            batch_size: number of tasks in one batch.

        Raises:
            MessageError: a plan is empty.
            PromptError: as for `write`, for any of the tasks.
        """
        chosen, seeds = self._sampling(sampling, max_new_tokens), [self.seed(seed, key) for key in keys or tasks]
        said = {"seed": seed, "sampling": dataclasses.asdict(chosen)}
        made = [
            write(self, tasks[part], chosen, seeds[part], state_at=state_at, provenance=said)
            for part in _parts(tasks, batch_size)
        ]
        return _hidden([one for batch in made for one in batch])

    def think(self, task: str, steps: int | None = None, *, align: Connector | None = None) -> HiddenMessage:
        """Think about ``task`` in latent steps, without writing text.

        Args:
            task: text that goes into the prompt template.
            steps: number of latents K, at least 1. The default is the largest number that a compressed sender was
                trained with, and 8 for any other model.
            align: maps a state to the next input. The default is the bridge of a compressed sender, and the
                norm-matched identity for any other model.

        Returns:
            A message with ``hidden_states`` [K, D] in the model's dtype. Latent k is the state (last layer, after the
            final norm) after k + 1 steps, from which the next input would be made ("before_token"). A compressed sender
            gives the latents that it was trained to send to its receiver.

        Raises:
            InputError: ``steps`` is not a whole number.
            MessageError: ``steps`` is below 1, so the message would be empty.
            PromptError: the task is not text, or does not fit into the context.
        """
        return self.think_many([task], steps, align=align)[0]

    def think_many(
        self, tasks: Sequence[str], steps: int | None = None, *, align: Connector | None = None, batch_size: int = 16
    ) -> list[HiddenMessage]:
        """Think about each of several tasks. Each message is the same as `think` makes for its task alone.

        Arguments and errors are those of `think`. ``batch_size`` is the number of tasks in one batch.
        """
        steps = self.latent_steps(steps)
        return _hidden(
            [one for part in _parts(tasks, batch_size) for one in think(self, tasks[part], steps, connector=align)]
        )

    def latent_steps(self, steps: int | None = None) -> int:
        """Check a number of latent steps, or give the default, which is that of `think`.

        Raises:
            InputError: ``steps`` is not a whole number.
            MessageError: ``steps`` is below 1.
        """
        if steps is None:
            return max(self.bridge.config.latent_steps) if self.bridge is not None else DEFAULT_STEPS
        if not isinstance(steps, int):
            raise InputError(f"steps is {steps!r}, expected a whole number of latent steps")
        if steps < 1:
            raise MessageError(f"a thought of {steps} steps is an empty message, expected at least 1; raise steps")
        return steps

    def reply(
        self,
        text: str,
        message: Message | None = None,
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
    ) -> Reply:
        """Read ``message`` and answer ``text``. The answer leaves out the model's reasoning.

        Warns if a limit that the call did not name cut the answer. `Reply.stopped` tells it in any case.

        Args:
            text: the first user turn. Use `reply_many` for several texts.
            message: a text, hidden or cache message, or None; see `prompt`.
            sampling: how the reply is decoded. The default is the sampling of the settings.
            max_new_tokens: largest number of tokens, including the reasoning. The default is the limit of ``sampling``.
            seed: seed of a sample. Greedy decoding does not use it.

        Raises:
            CheckpointError: the message is hidden, but this agent has neither an adapter nor a connector to read it.
            MessageError: this agent cannot read the message, see `check`; or the reply ends before its reasoning does,
                so there is no answer.
            PromptError: the text or the text message is not text, or they do not fit into the context.
        """
        limit = self._sampling(sampling, max_new_tokens)
        prompts, memory = self.prompts([text], [message])
        decoded = self.engine.decode(self.engine.prefill(prompts, memory), limit, [self.seed(seed, text)])
        answer = final_part(self.chat.opened_thought + decoded.texts[0])
        if answer is None:
            raise MessageError(
                f"{self.engine.name} was still thinking after {limit.max_new_tokens} tokens, so there is no answer; "
                "raise max_new_tokens"
            )
        if not decoded.stopped[0] and sampling is None and max_new_tokens is None:
            warnings.warn(
                f"the reply was cut after {len(decoded.token_ids[0])} tokens; give max_new_tokens for more or fewer",
                stacklevel=2,
            )
        return Reply(answer, decoded.stopped[0])

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
        """Answer several texts at once. Each answer is the same as `reply` gives to its text alone.

        Args:
            texts: the first user turns.
            messages: one for each text; None sends no messages.
            sampling, max_new_tokens, seed: as for `reply`.
            batch_size: number of answers in one batch. When one is finished, the next text takes its place.

        Returns:
            The answers, in order. If the reasoning does not end, the answer is empty and its `Reply.stopped` is False.

        Raises:
            InputError: there are not as many messages as texts.
            CheckpointError, MessageError, PromptError: as for `reply`, for any of them, before anything is answered.
        """
        given = one_for_each(texts, messages)
        prompts, memory = self.prompts(texts, given)
        requests = [
            Request(
                str(number), prompt, self.seed(seed, text), None if memory is None else CachedSequence(memory, number)
            )
            for number, (text, prompt) in enumerate(zip(texts, prompts, strict=True))
        ]
        replies: dict[str, Reply] = {}
        for written in self.engine.stream(requests, self._sampling(sampling, max_new_tokens), batch_size=batch_size):
            answer = final_part(self.chat.opened_thought + written.text)
            replies[written.key] = Reply(answer or "", written.stopped and answer is not None)
        return [replies[request.key] for request in requests]

    def _sampling(self, sampling: Sampling | None, max_new_tokens: int | None) -> Sampling:
        chosen = sampling or self.settings.sampling
        return chosen if max_new_tokens is None else dataclasses.replace(chosen, max_new_tokens=max_new_tokens)

    def prompt(self, text: str, message: Message | None = None, *, default_template: str = "{text}") -> list[Part]:
        """The opening of a conversation, ready for `Engine.prefill`.

        The message ends the first user turn: ``text message_prefix <bop> message <eop>``. An agent that was trained
        with messages sees ``<bop><eop>`` even if there is no message. Any other model reads a text message as plain
        text after the prefix. A cache message is not part of the prompt but comes before it, see `prompts`. Control
        tokens written in the text or in a message are read as plain text, unless the settings allow them.

        Raises:
            CheckpointError, MessageError, PromptError: as for `reply`.
        """
        return self._opening(text, message, self.read_many([message])[0], default_template)

    def prompts(
        self,
        texts: Sequence[str],
        messages: Sequence[Message | None],
        latents: Sequence[Tensor | None] | None = None,
    ) -> tuple[list[list[Part]], KVCache | None]:
        """The openings of several conversations, and the KV cache of their messages that they continue, if any.

        Args:
            texts: the first user turns.
            messages: one for each text.
            latents: the result of `read_many` for the messages. None calls it here.

        Raises:
            CheckpointError, MessageError, PromptError: as for `reply`.
            InputError: only some of the messages are caches.
        """
        read = self.read_many(messages) if latents is None else latents
        openings = [
            self._opening(text, message, rows) for text, message, rows in zip(texts, messages, read, strict=True)
        ]
        return openings, caches_of(self, messages)

    def task_prompt(self, task: str) -> list[Part]:
        """The prompt that a sender reads for a task. Raises PromptError if the task is not text."""
        return self.prompt(task, default_template=PLAN_REQUEST)

    def _opening(
        self, text: str, message: Message | None, latents: Tensor | None, default_template: str = PLACE_OF_TEXT
    ) -> list[Part]:
        content: list[Part] = [*self.settings.content(text, default_template)]
        body: list[Part] = []
        if latents is not None:
            body = [Latents(latents)]
        elif isinstance(message, TextMessage):
            body = [Text(message.text, self.settings.literal)]
        elif not isinstance(message, CacheMessage | None):
            raise InputError(f"a message is a {type(message).__name__}, expected a message of interlat or None")
        if body or self.marks_messages:
            begin, end = ([Tokens((token,))] for token in self._delimiters) if self._delimiters else ([], [])
            content += [Text(self.settings.connector), *begin, *body, *end]
        return chat_prompt(self.chat, content, system=self.settings.system_prompt)

    def with_connector(self, connector: str, sender: Engine) -> "Agent":
        """A copy of this receiver that reads the hidden states of ``sender`` through a connector, without training.

        Raises:
            InputError: this agent has its own adapter, or there is no such connector between these two models.
        """
        if self.adapter is not None:
            raise InputError(
                f"connector is {connector!r}, but {self.engine.name} was trained to read messages and has an adapter "
                "of its own; leave out connector, or give the receiver's base model"
            )
        return dataclasses.replace(self, reader=reader_of(connector, sender, self.engine))

    def converse(
        self, texts: Sequence[str], messages: Sequence[Message | None] | None = None, *, spare: int = 0
    ) -> Talk:
        """Open several conversations as one batch. Each conversation goes as it would alone.

        Args:
            texts: the first user turns.
            messages: one for each text; None sends no messages.
            spare: positions to preallocate for a reply, so that writing it copies nothing.

        Raises:
            CheckpointError, MessageError, PromptError: as for `reply`.
        """
        return Conversations(self, texts, [None] * len(texts) if messages is None else messages, spare)

    def written(self, tasks: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[SenderOutput]:
        """Write a plan for each task as one batch, each with its own seed. Channels make their messages from these.

        Raises:
            PromptError: as for `write`, for any of the tasks.
        """
        return write(self, tasks, sampling, seeds)

    def check_sends(self, channel: str, kind: str) -> None:
        """Check that this agent can send over a channel of this kind, before any message is made.

        Raises:
            MessageError: its model gives text only.
        """

    def check_speaks(self) -> None:
        """Check that this agent can hold a conversation. Raises PromptError if the tokenizer has no chat template."""
        _ = self.chat

    @property
    def number_format(self) -> str:
        """Number format that its model computes in, such as bfloat16."""
        return self.engine.number_format

    @property
    def chat(self) -> ChatFormat:
        """The chat format of its prompts. Raises PromptError if the tokenizer has no chat template."""
        return self.engine.chat

    def read_many(self, messages: Sequence[Message | None]) -> list[Float[Tensor, "_ D"] | None]:
        """The input embeddings of each hidden message, made as one batch. None for messages of other kinds.

        Raises:
            CheckpointError, MessageError: as for `reply`.
        """
        hidden = {number: one for number, one in enumerate(messages) if isinstance(one, HiddenMessage)}
        read: list[Tensor | None] = [None] * len(messages)
        for message in hidden.values():
            self.check(message.header)
        mapped = {number: one for number, one in hidden.items() if one.header.layer != EMBEDDINGS_LAYER}
        for number in hidden.keys() - mapped.keys():
            read[number] = hidden[number].hidden_states.to(self.engine.device, self.engine.dtype)
        if not mapped:
            return read
        states = [message.hidden_states for message in mapped.values()]
        with torch.no_grad():
            # One message needs no mask, and is read without.
            rows, mask = padded_rows(states, self.engine.device) if len(states) > 1 else (states[0][None], None)
            adapted = self._mapped(rows.to(self.engine.device), mask)
        for row, number in enumerate(mapped):
            read[number] = adapted[row] if mask is None else adapted[row][mask[row]]
        return read

    def _mapped(self, rows: Float[Tensor, "B K _"], mask: Bool[Tensor, "B K"] | None) -> Float[Tensor, "B K D"]:
        """Input rows for the states of checked messages."""
        if self.adapter is not None:
            return self.adapter(rows, mask, dtype=self.engine.dtype)
        assert self.reader is not None, "checked with the first header"
        return self.reader.connector(rows.float(), mask).to(self.engine.dtype)

    def check(self, header: Header) -> None:
        """Check that this agent can read messages with this header, before any message is made or used.

        Every agent reads text, unless it was trained without messages.

        Raises:
            CheckpointError: the message is hidden, but this agent has neither an adapter nor a reader for it.
            MessageError: the sender, layer, norm or state_at is not the one that the adapter was trained with, or the
                cache or the input embeddings come from another model, or the message is text and the agent was trained
                without messages. The error names everything that differs.
        """
        if header.kind == "hidden" and header.layer == EMBEDDINGS_LAYER:
            if header.weights_fingerprint != self.engine.weights_fingerprint:
                raise MessageError(
                    f"{self.engine.name} cannot read the input embeddings of {header.model or 'an unnamed model'}, "
                    "which has other weights; send hidden states or text between these two"
                )
        elif header.kind == "hidden":
            if self.adapter is not None:
                self.adapter.config.check(header)
            elif self.reader is not None:
                self.reader.check(header)
            else:
                raise CheckpointError(
                    f"{self.engine.name} is a checkpoint without an adapter, so it cannot read a hidden message; "
                    "load a trained receiver, name a connector that needs no training, or give it the words: "
                    "TextMessage(message.text)"
                )
        elif header.kind == "cache":
            maker = origin_of(header)
            if differing := self.engine.origin.differences(maker):
                raise MessageError(
                    f"{self.engine.name} cannot continue the cache of {maker.name}: {differing}; give both one model, "
                    "or send hidden states or text between these two"
                )
        elif self.settings.message_kind == "none":
            raise MessageError(
                f"{self.engine.name} was trained to do without messages (message_kind is none), got a text message; "
                "give a receiver that was trained to read text, or send nothing"
            )

    @property
    def marks_messages(self) -> bool:
        """Whether it was trained with messages. If so, its prompts have the delimiters even without a message."""
        return self.adapter is not None or bool(self.settings.message_kind)

    @property
    def _delimiter_tokens(self) -> tuple[str, str]:
        config = self.adapter.config if self.adapter is not None else AdapterConfig
        return config.bop_token, config.eop_token

    @functools.cached_property
    def _delimiters(self) -> tuple[int, int] | None:
        vocabulary = self.engine.tokenizer.get_vocab()
        begin, end = self._delimiter_tokens
        return (vocabulary[begin], vocabulary[end]) if begin in vocabulary and end in vocabulary else None

    @functools.cached_property
    def identity(self) -> NormMatchedIdentity:
        """The connector of untrained latent steps: the state, rescaled to the norm of an embedding."""
        return NormMatchedIdentity.of_embeddings(self.engine.input_embeddings)

    def seed(self, seed: int, key: str) -> int:
        """The seed of one sample of this agent, from the seed of the run and the name of the task."""
        return row_seed(seed, key, self.settings.role)


def _hidden(made: Sequence[SenderOutput]) -> list[HiddenMessage]:
    """The messages of a sender. Raises MessageError where there is none."""
    for one in made:
        if one.message is None:
            raise MessageError(
                f"{one.failure}, expected at least one word; check its prompt template, or sample with a temperature"
            )
    return [one.message for one in made if isinstance(one.message, HiddenMessage)]


def _parts(tasks: Sequence[str], size: int) -> Iterator[slice]:
    """Places of batches. Raises InputError: a bare string, or an impossible size."""
    if isinstance(tasks, str) or size < 1:
        raise InputError(f"tasks is {tasks!r:.40} and batch_size {size}, expected a list of texts and at least 1")
    for start in range(0, len(tasks), size):
        yield slice(start, start + size)
