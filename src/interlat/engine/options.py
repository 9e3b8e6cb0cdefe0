"""How an engine decodes, and what it gives to a chat template: settings, which need no torch."""

import dataclasses
import datetime
import json
import math
from dataclasses import dataclass, field
from typing import Any

from interlat.config import CHECKED_BY_CLASS
from interlat.errors import InputError
from interlat.typed import json_or_text


@dataclass(frozen=True)
class Sampling:
    """How to decode."""

    temperature: float = 0.0
    """0 decodes greedily and exactly. 1 samples from the model's own distribution."""
    top_p: float = 1.0
    """Nucleus sampling (arXiv 1904.09751): sample from the smallest set of tokens with this probability."""
    top_k: int = 0
    """Sample from this many most probable tokens. 0 uses all."""
    max_new_tokens: int = 64
    """Largest number of tokens to write for a sequence."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; use 0 for greedy or a positive number")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; use a number above 0 and at most 1")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}; use 0 for all tokens or a positive number")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; use at least 1")


FIXED_DATE = datetime.date(2024, 7, 26)
"""What templates write that ask for today's date, unless they are given one: the date that Llama 3.1 has by itself."""
TODAY = "today"
_GIVEN = frozenset({"messages", "add_generation_prompt", "strftime_now"})


@dataclass(frozen=True)
class TemplateOptions:
    """Arguments of the chat template."""

    enable_thinking: bool | None = None
    """Whether the model thinks aloud first, for templates with this switch (Qwen 3). None leaves it to the template."""
    date: str | None = field(default=None, metadata={CHECKED_BY_CLASS: True})
    """Date for templates that write one (Llama 3, gpt-oss): such as 2024-07-26, or today.
    today is replaced by its date at once, so that records and checkpoints name it.
    None is always 2024-07-26, so that a prompt is the same every day."""
    arguments: dict[str, str] = field(default_factory=dict, metadata={CHECKED_BY_CLASS: True})
    """Other arguments of the template by name, such as ``thinking true``.
    A value that is JSON is read as JSON, any other as text."""

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
        return {**found, **{name: json_or_text(text) for name, text in self.arguments.items()}}

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
