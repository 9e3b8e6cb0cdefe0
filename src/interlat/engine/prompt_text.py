"""A text in a prompt, and templates with places that are filled with texts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from interlat.errors import PromptError
from interlat.files import lone_surrogate


@dataclass(frozen=True)
class Text:
    """Text that the tokenizer of the model splits. Raises PromptError if it is no text that a tokenizer can read."""

    text: str
    literal: bool = False
    """False: special tokens written in it are special tokens. True, for all that comes from outside: they are words
    like any others, see `interlat.engine.control_tokens`."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise PromptError(f"a text is of the type {type(self.text).__name__}, expected a string; convert it")
        lone = lone_surrogate(self.text)
        if lone:
            raise PromptError(
                f"the text holds the lone surrogate {lone[0]!r} at character {lone.start()}, which no tokenizer can "
                "read; correct or remove it"
            )


def filled(template: str, values: Mapping[str, str], *, literal: bool = True) -> list[Text]:
    """A template with values in some places; what stands in the values is never a place.

    Args:
        template: whose special tokens are special tokens.
        values: place, as it is written in the template -> what goes there.
        literal: whether the values come from outside.

    Raises:
        PromptError: a value is no text.
    """
    pieces = re.split(f"({'|'.join(map(re.escape, values))})", template)
    return [Text(values[piece], literal) if number % 2 else Text(piece) for number, piece in enumerate(pieces)]
