"""A model behind an OpenAI-compatible server (vLLM, llama.cpp, Ollama, a hosted one): it takes words and gives words.

The key comes from the environment variable ``OPENAI_API_KEY`` alone; servers of one's own need none.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

from interlat.engine.options import Sampling
from interlat.engine.protocol import Engine
from interlat.errors import CheckpointError, InputError, MessageError, PromptError
from interlat.places import REMOTE

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
"""Environment variables."""
RETRIES = 5
"""Times that a request is made again which the server could not take, each time after a longer while."""
LARGEST_SEED = 2**31
ChatTurns = list[dict[str, str]]
"""A conversation: ``role`` (system, user or assistant) and ``content`` of each turn."""


@dataclass(frozen=True)
class Answer:
    """What a server wrote at the end of one conversation."""

    text: str
    stopped: bool
    """False where it was cut at the most tokens."""
    tokens: int
    """Tokens written, as the server counts them; 0 where it does not say."""
    prompt_tokens: int
    """Tokens of the conversation, likewise."""


def address_of(base_url: str) -> str:
    """The address of the server: what was given, else ``$OPENAI_BASE_URL``; empty is OpenAI's own."""
    return base_url or os.environ.get(ADDRESS, "")


class OpenAIEngine(Engine):
    """One model of a server. Whatever needs its states, its caches or its tokens is refused by name.

    What a model writes in one conversation may depend on those beside it: that is the server's affair.

    Args:
        model: as the server calls it.
        base_url: of the server, such as ``http://localhost:8000/v1``; empty is ``$OPENAI_BASE_URL``, else OpenAI's own.
        seconds: the longest that one answer may take.

    Raises:
        InputError: the package ``openai`` or the key is missing, or the server does not answer or refuses the key.
        CheckpointError: the server has no such model.
    """

    def __init__(self, model: str, base_url: str = "", seconds: float = 600) -> None:
        self.model = model
        self.name = f"{REMOTE}{model}"
        self.base_url = address_of(base_url)
        if not model:
            raise InputError(f"{REMOTE} names no model; write {REMOTE}NAME with a name that the server has")
        if not self.base_url and not os.environ.get(KEY):
            raise InputError(
                f"{self.name} is on no server: give base_url (such as http://localhost:8000/v1), or set {KEY} for "
                "OpenAI's own"
            )
        try:
            import openai
        except ModuleNotFoundError as error:
            raise InputError(f"{self.name} needs the package openai; run: pip install 'interlat[openai]'") from error
        self._openai = openai
        self._client = openai.OpenAI(
            # A server of one's own asks for none, and the client wants one.
            api_key=os.environ.get(KEY) or "none",
            base_url=self.base_url or None,
            max_retries=RETRIES,
            timeout=seconds,
        )
        self._check_model()

    def answers(
        self, conversations: Sequence[ChatTurns], sampling: Sampling, seeds: Sequence[int] | None = None
    ) -> list[Answer]:
        """What comes next in each of several conversations, which are asked at once.

        Args:
            conversations: each ends with the user's turn.
            sampling: how to decode.
            seeds: one for each, where it samples.

        Raises:
            PromptError: a conversation does not fit into the model's context.
            InputError: the server does not answer, or refuses what is asked.
        """
        if not conversations:
            return []
        with ThreadPoolExecutor(len(conversations)) as pool:
            given = [None] * len(conversations) if seeds is None else list(seeds)
            return list(pool.map(lambda turns, seed: self._answer(turns, sampling, seed), conversations, given))

    def _answer(self, turns: ChatTurns, sampling: Sampling, seed: int | None) -> Answer:
        request: dict[str, Any] = {"messages": turns, "temperature": sampling.temperature}
        request["max_tokens"] = sampling.max_new_tokens
        if sampling.temperature:
            request["top_p"] = sampling.top_p
            request |= {} if seed is None else {"seed": seed % LARGEST_SEED}
        # As vLLM, SGLang and llama.cpp take them.
        more: dict[str, Any] = {"chat_template_kwargs": self.template.variables} if self.template.variables else {}
        if sampling.temperature and sampling.top_k:
            more["top_k"] = sampling.top_k
        made: Any = self._asked(
            lambda: self._client.chat.completions.create(model=self.model, extra_body=more or None, **request)
        )
        if not made.choices:
            raise InputError(f"{self._server} gave no answer for {self.name}; look into its log")
        choice, usage = made.choices[0], made.usage
        return Answer(
            choice.message.content or "",
            choice.finish_reason == "stop",
            0 if usage is None else usage.completion_tokens,
            0 if usage is None else usage.prompt_tokens,
        )

    def _check_model(self) -> None:
        try:
            known = [one.id for one in self._asked(lambda: self._client.models.list().data)]
        except CheckpointError:
            return  # A server need not list what it has.
        if self.model not in known:
            has = f"it has {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "it lists none"
            raise CheckpointError(f"{self._server} has no model {self.model!r}: {has}; give one of these")

    def _asked(self, request: Any) -> Any:
        """The server's answer, or what is wrong in one line."""
        package = self._openai
        try:
            return request()
        except (package.AuthenticationError, package.PermissionDeniedError) as error:
            raise InputError(f"{self._server} refused the key in {KEY} ({_line(error)}); set another") from error
        except package.NotFoundError as error:
            raise CheckpointError(
                f"{self._server} does not know {self.name} ({_line(error)}); correct the model or base_url"
            ) from error
        except package.BadRequestError as error:
            if "context" in _line(error).lower():
                raise PromptError(f"{self.name}: {_line(error)}; shorten the prompt") from error
            raise InputError(f"{self._server} refused a request ({_line(error)}); correct the settings") from error
        except package.OpenAIError as error:
            raise InputError(
                f"{self._server} did not answer ({_line(error)}); start it or correct base_url, and run again: what is "
                "done is kept"
            ) from error

    @property
    def _server(self) -> str:
        return f"the server {self.base_url or 'of OpenAI'}"

    @property
    def weights_fingerprint(self) -> str:
        """Empty: nobody sees the weights."""
        return ""

    @property
    def tokenizer_fingerprint(self) -> str:
        """Empty, likewise."""
        return ""

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise MessageError(
            f"{self.name} runs behind a server, which takes and gives words only; send text, or load the model here"
        )

    prefill = prefill_hidden = think = decode = stream = embed = logits = _refused
    load = device = dtype = stop_ids = input_embeddings = output_embeddings = tokenizer = property(_refused)
    layers = hidden_size = context_length = property(_refused)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
