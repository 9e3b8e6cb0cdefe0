r"""The answer that a solution puts in a box: ``\boxed{...}`` or ``\fbox{...}``."""

import re

ASK_FOR_BOX = "End with the answer in \\boxed{}."
"""Asks an agent for such an answer."""

_TOKEN = re.compile(
    r"""
      (?P<box>\\(?:boxed|fbox)\s*\{)
    | \\(?:boxed|fbox)(?![A-Za-z])\s*
      (?P<bare>(?:[-+.]?\d|\\[A-Za-z])(?:(?!\\[\])])[^\s${}]|\{[^{}]*\})*|[A-Za-z](?![A-Za-z]))
    | \\.                       # an escaped character, and with it an escaped brace
    | (?P<open>\{)
    | (?P<close>\})
    """,
    re.VERBOSE | re.DOTALL,
)


def last_boxed(text: str) -> str | None:
    r"""The content of the last box in ``text`` that is complete and not blank.

    Of nested boxes it is the outermost. A box without braces (``\boxed 7``) holds the number, the command or the
    single letter that follows. A box that is never closed does not count, but boxes inside it do.

    The time is linear in the length of the text, however many boxes are left open.

    Returns:
        The content without the white space around it, or None where there is no such box.
    """
    found = None
    # Where the content of each open group starts; None for a group that is no box.
    open_groups: list[int | None] = []
    for token in _TOKEN.finditer(text):
        content = None
        if token["box"]:
            open_groups.append(token.end())
        elif token["open"]:
            open_groups.append(None)
        elif token["close"] and open_groups:
            start = open_groups.pop()
            content = None if start is None else text[start : token.start()]
        elif token["bare"]:
            content = token["bare"].rstrip(".,;:!?")
        # The box that closes last is never inside another complete one.
        if content is not None and content.strip():
            found = content.strip()
    return found
