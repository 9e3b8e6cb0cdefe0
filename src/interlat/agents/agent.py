"""An agent: a language model with a role, which writes messages and replies to a text with a message."""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.agents.settings import PLAN_REQUEST, AgentSettings
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.base import Align
from interlat.connectors.bridge import Bridge, think_over
from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.cache import KVCache
from interlat.engine.cache_message import header_of
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import at_home, companion_file
from interlat.engine.hf import Engine
from interlat.engine.prompt import Latents, Part, Text, Tokens
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.streaming import Request
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.messages import Header, HiddenMessage, Message, TextMessage, check_receiver
from interlat.reasoning import final_part
from interlat.states import StateAt

DEFAULT_STEPS = 8
"""Latents of a thought where nobody says how many."""


class Reply(str):
    """What an agent answered: a string that knows whether it is whole."""

    stopped: bool
    """True where the model ended its turn, False where it ran out of tokens or context."""

    def __new__(cls, text: str, stopped: bool) -> "Reply":
        reply = super().__new__(cls, text)
        reply.stopped = stopped
        return reply


@dataclasses.dataclass(frozen=True, eq=False)
class Agent:
    """A model that writes, thinks and replies. Raises CheckpointError if its parts do not fit each other."""

    engine: Engine
    """Runs the model, with the template arguments of the settings over its own."""
    adapter: CommunicationAdapter | None = None
    """Reads hidden messages; None if the model was not trained to."""
    settings: AgentSettings = dataclasses.field(default_factory=AgentSettings)
    """Prompts and sampling."""
    bridge: Bridge | None = None
    """Of a compressed sender: what its latent steps read and give."""

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
        if self._marks_messages and self._delimiters is None:
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
        """Write a plan for ``task`` and keep the states that it was made with.

        Args:
            task: goes into the prompt template.
            sampling: default: that of the settings.
            max_new_tokens: at most this many tokens in the plan; by default the limit of ``sampling``. Whether the plan
                ended by itself is under ``stopped`` in the provenance of the message.
            seed: of a sample; greedy writing does not use it.
            state_at: row t is the state (last layer, after the final norm) that predicted plan token t, or that
                had just read it.

        Returns:
            ``hidden_states`` [T, D] in the model's dtype, one row a token, and ``text``, what was said.

        Raises:
            MessageError: the plan is empty.
            PromptError: the task is no text, or does not fit into the context.
        """
        sampling = self._sampling(sampling, max_new_tokens)
        memory = self._read(self.prompt(task, default_template=PLAN_REQUEST))
        decoded = self.engine.decode(memory, sampling, [self._seed(seed, task)], None, True, state_at=state_at)
        if not decoded.texts[0].strip():
            raise MessageError(
                f"{self.engine.name} wrote an empty plan, expected at least one word; check its prompt "
                "template, or sample with a temperature"
            )
        start = int(memory.next_position[0]) - (state_at == "before_token")
        count = len(decoded.token_ids[0])
        provenance = {"method": "write", "task": task, "seed": seed, "sampling": dataclasses.asdict(sampling)}
        provenance["stopped"] = decoded.stopped[0]
        return HiddenMessage(
            decoded.hidden_states[0],
            decoded.texts[0],
            tuple(decoded.token_ids[0]),
            self._header(state_at, range(start, start + count), provenance),
        )

    def think(self, task: str, steps: int | None = None, *, align: Align | None = None) -> HiddenMessage:
        """Think about ``task`` in latent steps, without a word.

        Args:
            task: goes into the prompt template.
            steps: number of latents K, at least 1; default: the most that a compressed sender was trained with, else 8.
            align: from a state to the next input; default: the bridge of a compressed sender, else the norm-matched
                identity.

        Returns:
            ``hidden_states`` [K, D] in the model's dtype: row k is the state (last layer, after the final
            norm) after k + 1 steps, from which the next input would be made ("before_token"). Those of a compressed
            sender are what it was trained to send to its receiver.

        Raises:
            InputError: ``steps`` is no whole number.
            MessageError: ``steps`` is below 1, which would be an empty message.
            PromptError: the task is no text, or does not fit into the context.
        """
        if steps is None:
            steps = max(self.bridge.config.latent_steps) if self.bridge is not None else DEFAULT_STEPS
        if not isinstance(steps, int):
            raise InputError(f"steps is {steps!r}, expected a whole number of latent steps")
        if steps < 1:
            raise MessageError(f"a thought of {steps} steps is an empty message, expected at least 1; raise steps")
        prompt = self.prompt(task, default_template=PLAN_REQUEST)
        if self.bridge is not None and align is None:
            return self._think_over(self.bridge, task, prompt, steps)
        memory = self.engine.prefill([prompt], room=steps)
        _, thoughts = self.engine.think(memory, steps, align or self._identity)
        start = int(memory.next_position[0])
        provenance = {"method": "think", "task": task, "steps": steps}
        return HiddenMessage(thoughts[0], header=self._header("before_token", range(start, start + steps), provenance))

    def _think_over(self, bridge: Bridge, task: str, prompt: list[Part], steps: int) -> HiddenMessage:
        memory, rows = think_over(self.engine, bridge, [prompt], steps)
        end = int(memory.next_position[0])
        config = bridge.config
        header = dataclasses.replace(
            self._header(
                config.state_at, range(end - steps, end), {"method": "compressed", "task": task, "steps": steps}
            ),
            space_fingerprint=config.sender_fingerprint,
            layer=config.layer,
            norm=config.norm,
        )
        return HiddenMessage(rows[0].to(self.engine.dtype), header=header)

    def reply(
        self,
        text: str,
        message: Message | None = None,
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
    ) -> Reply:
        """Answer ``text``, having read ``message``; what the model thinks first is left out of the answer.

        Warns where the answer was cut at a limit that the call did not name; `Reply.stopped` says it anyway.

        Args:
            text: the first user turn. For several use `reply_many`.
            message: nothing, words, or hidden states; see `prompt`.
            sampling: default: that of the settings.
            max_new_tokens: at most this many tokens, thoughts included; by default the limit of ``sampling``.
            seed: of a sample; greedy decoding does not use it.

        Raises:
            CheckpointError: a hidden message, but this agent has no adapter to read it.
            MessageError: the message does not fit the sender, layer, norm or state_at that the adapter was
                trained with; or the reply ends inside a thought, so that there is no answer.
            PromptError: text or message is no text, or they do not fit into the context.
        """
        limit = self._sampling(sampling, max_new_tokens)
        decoded = self.engine.decode(self._read(self.prompt(text, message)), limit, [self._seed(seed, text)])
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
        """Answer several texts at once; each answer is the one that `reply` gives to its text alone.

        Args:
            texts: the first user turns.
            messages: one for each text, or None for none.
            sampling, max_new_tokens, seed: as for `reply`.
            batch_size: answers in one batch; the next text takes the place of one that is answered.

        Returns:
            The answers, in order. One whose thought does not end is empty, and its `Reply.stopped` False.

        Raises:
            InputError: not as many messages as texts.
            CheckpointError, MessageError, PromptError: as `reply`, for any of them, before anything is answered.
        """
        given = [None] * len(texts) if messages is None else list(messages)
        if isinstance(texts, str) or len(given) != len(texts):
            raise InputError(f"{len(given)} messages for {len(texts)} texts, expected a list of texts and one for each")
        prompts = [self.prompt(text, message) for text, message in zip(texts, given, strict=True)]
        requests = [
            Request(str(number), prompt, self._seed(seed, text))
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

        The message stands at the end of the first user turn: ``text connector <bop> message <eop>``. An agent
        that was trained with messages sees ``<bop><eop>`` also where there is none; to any other model a text
        message is plain text after the connector. Control tokens written in the text or in a message are words
        like any others, unless the settings allow them.

        Raises:
            CheckpointError, MessageError, PromptError: as `reply`.
        """
        content: list[Part] = [*self.settings.content(text, default_template)]
        if message is not None or self._marks_messages:
            content += [Text(self.settings.connector), *self._delimited(message)]
        turns = [("system", [Text(self.settings.system_prompt)])] if self.settings.system_prompt else []
        return self.chat.opening([*turns, ("user", content)])

    @property
    def chat(self) -> ChatFormat:
        """How it writes conversations. Raises PromptError if the tokenizer has no chat template."""
        return self.engine.chat

    def read_rows(self, message: HiddenMessage) -> Float[Tensor, "K D"]:
        """The input rows of this agent's model for a hidden message.

        Raises:
            CheckpointError, MessageError: as `reply`.
        """
        if self.adapter is None:
            raise CheckpointError(
                f"{self.engine.name} is a checkpoint without an adapter, so it cannot read a hidden message; "
                "load a trained receiver, or give it the words: TextMessage(message.text)"
            )
        check_receiver(message.header, self.adapter.config.expectations())
        with torch.no_grad():
            rows = message.hidden_states.to(self.engine.device).unsqueeze(0)
            read: Tensor = self.adapter(rows, dtype=self.engine.dtype)
        return read[0]

    def _delimited(self, message: Message | None) -> list[Part]:
        body: list[Part] = []
        if isinstance(message, HiddenMessage):
            body = [Latents(self.read_rows(message))]
        elif isinstance(message, TextMessage):
            body = [Text(message.text, self.settings.literal)]
        elif message is not None:
            raise InputError(
                f"reply reads text and hidden messages, got a {type(message).__name__}; a cache enters as "
                "memory: Engine.prefill(prompts, memory)"
            )
        if self._delimiters is None:
            return body
        begin, end = self._delimiters
        return [Tokens((begin,)), *body, Tokens((end,))]

    @property
    def _marks_messages(self) -> bool:
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
    def _identity(self) -> NormMatchedIdentity:
        return NormMatchedIdentity.of_embeddings(self.engine.input_embeddings)

    def _read(self, prompt: list[Part]) -> KVCache:
        return self.engine.prefill([prompt])

    def _seed(self, seed: int, text: str) -> int:
        return row_seed(seed, text, self.settings.role)

    def _header(self, state_at: StateAt, positions: range, provenance: dict[str, Any]) -> Header:
        header = header_of(self.engine, {"role": self.settings.role, **provenance})
        return dataclasses.replace(header, state_at=state_at, positions=tuple(positions))


def load(
    path_or_hub_id: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    compile: bool = False,
    trust_remote_code: bool = False,
    template: TemplateOptions | None = None,
) -> Agent:
    """Load an agent: any Hugging Face causal language model, with what interlat keeps beside it.

    Beside the model may stand ``adapter.safetensors`` (it reads hidden messages), ``bridge.safetensors`` (it was
    trained to send a few latents) and ``agent.json`` (role, prompts, sampling; see `AgentSettings`).

    Args:
        path_or_hub_id: a directory or a hub id.
        dtype, device, compile, trust_remote_code: see `interlat.engine.hf.Engine.load`.
        template: arguments of the chat template, over those in ``agent.json``.

    Raises:
        CheckpointError: no usable model in that place, or its parts are damaged or do not fit each other.
    """
    place = at_home(path_or_hub_id)
    engine, settings = load_engine(
        place, template, dtype=dtype, device=device, compile=compile, trust_remote_code=trust_remote_code
    )
    adapter_file = companion_file(place, CommunicationAdapter.FILE)
    bridge_file = companion_file(place, Bridge.FILE)
    return Agent(
        engine,
        CommunicationAdapter.load(adapter_file.parent) if adapter_file else None,
        settings,
        Bridge.load(bridge_file.parent) if bridge_file else None,
    )


def load_engine(place: str, template: TemplateOptions | None = None, **options: Any) -> tuple[Engine, AgentSettings]:
    """The model of an agent, which writes prompts as in its training, and its settings.

    Args:
        place: a directory or a hub id.
        template: arguments of the chat template, over those in ``agent.json``.
        options: those of `Engine.load`.

    Raises:
        CheckpointError: no usable model in that place, or ``agent.json`` is damaged.
    """
    engine = Engine.load(place, **options)
    settings = AgentSettings.beside(place)
    if template is not None:
        settings = dataclasses.replace(settings, template=template.over(settings.template))
    return engine.with_template(settings.template), settings
