"""Further options of an environment as a command line names them."""

import re
from collections.abc import Sequence
from typing import Any

from interlat.errors import InputError

_NUMBER = re.compile(r"-?\d{1,18}")


def parsed_options(words: Sequence[str]) -> dict[str, Any]:
    """Options by name: whole numbers and true and false are such, all else is text. The environment checks the names.

    Args:
        words: NAME=VALUE each.

    Raises:
        InputError: one has another form, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise InputError(f"options has {word!r}, expected NAME=VALUE, such as heap=512")
        if name in found:
            raise InputError(f"options has {name} twice; give it once")
        if value in ("true", "false"):
            found[name] = value == "true"
        else:
            found[name] = int(value) if _NUMBER.fullmatch(value) else value
    return found
