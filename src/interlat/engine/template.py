"""What a chat template is given beside the turns, and its rendering within bounds."""

import contextlib
import dataclasses
import datetime
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from interlat.config import CHECKED_BY_CLASS
from interlat.errors import InputError, PromptError

FIXED_DATE = datetime.date(2024, 7, 26)
"""What templates write that ask for today's date, unless they are given one: the date that Llama 3.1 has by itself."""
TODAY = "today"
SECONDS = 20
"""A template that renders longer is taken for one that never ends."""
LONGEST = 2**26
"""Most characters of a rendered conversation."""
_GIVEN = frozenset({"messages", "add_generation_prompt", "strftime_now"})
_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class TemplateOptions:
    """Arguments of the chat template."""

    enable_thinking: bool | None = None
    """For templates that have such a switch (Qwen 3): whether the model thinks aloud first. None leaves it to the
    template."""
    date: str | None = field(default=None, metadata={CHECKED_BY_CLASS: True})
    """The date for templates that write one (Llama 3, gpt-oss): such as 2024-07-26, or today, which is replaced by its
    date at once, so that records and checkpoints name it. None is a fixed one, 2024-07-26: a prompt is the same every
    day."""
    arguments: dict[str, str] = field(default_factory=dict, metadata={CHECKED_BY_CLASS: True})
    """Any other arguments of the template by name, such as ``thinking true``; what is JSON is read as such, all else is
    text."""

    def __post_init__(self) -> None:
        if self.date is not None:
            object.__setattr__(self, "date", _day(self.date).isoformat())
        if self.enable_thinking is not None and not isinstance(self.enable_thinking, bool):
            raise InputError(f"enable_thinking is {self.enable_thinking!r}, expected true, false or null; correct it")
        if not isinstance(self.arguments, dict) or not all(isinstance(name, str) for name in self.arguments):
            raise InputError(f"arguments is {self.arguments!r}, expected values by name; correct it")
        object.__setattr__(self, "arguments", {name: _text(name, value) for name, value in self.arguments.items()})
        if taken := sorted(_GIVEN.intersection(self.arguments)):
            raise InputError(f"arguments names {taken[0]}, which interlat gives to every template; leave it out")

    def over(self, other: "TemplateOptions") -> "TemplateOptions":
        """These options, and those of ``other`` where these say nothing."""
        return TemplateOptions(
            other.enable_thinking if self.enable_thinking is None else self.enable_thinking,
            self.date or other.date,
            {**other.arguments, **self.arguments},
        )

    @property
    def record(self) -> dict[str, Any]:
        """What is set, for manifests and hashes; nothing by default, so that older ones stay what they are."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, {})}

    @property
    def variables(self) -> dict[str, Any]:
        """What the template finds beside turns and special tokens."""
        found: dict[str, Any] = {}
        if self.enable_thinking is not None:
            found["enable_thinking"] = self.enable_thinking
        if self.date is not None:
            # The name and the form of Llama 3.
            found["date_string"] = _day(self.date).strftime("%d %b %Y")
        return {**found, **{name: _value(text) for name, text in self.arguments.items()}}

    def strftime_now(self, form: str) -> str:
        """The function of that name which templates call; midnight of the date."""
        day = FIXED_DATE if self.date is None else _day(self.date)
        return datetime.datetime.combine(day, datetime.time()).strftime(form)


def _day(date: str | datetime.date) -> datetime.date:
    # YAML reads a date without quotes as one.
    if isinstance(date, datetime.date):
        return date
    try:
        return datetime.date.today() if date == TODAY else datetime.date.fromisoformat(date)
    except (TypeError, ValueError) as error:
        raise InputError(f"date is {date!r}, expected today or a date such as {FIXED_DATE}; correct it") from error


def _text(name: str, value: Any) -> str:
    """An argument as text: files have values of any type."""
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"argument {name} is {value!r}, which is no JSON ({error}); correct it") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def render_template(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[tuple[str, str]],
    options: TemplateOptions,
    *,
    generation_prompt: bool,
) -> str:
    """The text that the tokenizer's chat template makes of turns, in the sandbox of `transformers`.

    A template comes with a model and may do what it likes in there: every failure of its own is a PromptError, and so
    is rendering for longer than `SECONDS` (in the main thread, where Python can interrupt it) and a text of more than
    `LONGEST` characters.

    Raises:
        PromptError: the template refuses the turns, fails, or does not end.
    """
    variables = {**tokenizer.special_tokens_map, "tools": None, "documents": None, **options.variables}
    roles = ", ".join(role for role, _ in turns)
    try:
        with _at_most(SECONDS):
            # Not apply_chat_template: it hands no functions to the template, and so no other date.
            template = _compile_jinja_template(tokenizer.get_chat_template(None, variables["tools"]))
            rendered = template.render(
                messages=[{"role": role, "content": content} for role, content in turns],
                add_generation_prompt=generation_prompt,
                strftime_now=options.strftime_now,
                **variables,
            )
    except jinja2.TemplateError as error:
        raise PromptError(
            f"the chat template refuses the turns ({roles}): {error}; use roles that it allows"
        ) from error
    except _FAULTS as error:
        raise PromptError(
            f"the chat template fails at the turns ({roles}): {type(error).__name__}: {error}; correct the template"
        ) from error
    if len(rendered) > LONGEST:
        raise PromptError(
            f"the chat template makes {len(rendered)} characters of the turns ({roles}), and {LONGEST} are the most; "
            "shorten the turns or correct the template"
        )
    return str(rendered)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise PromptError where the block takes longer; outside the main thread there is no such limit."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise PromptError(f"the chat template does not end within {seconds:g} seconds; correct the template")

    handler = signal.signal(signal.SIGALRM, stop)
    # Again and again: where Jinja folds constants it catches everything and tries once more.
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        # Another timer, such as that of a test, goes on.
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)
