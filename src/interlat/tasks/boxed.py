r"""The answer that a solution puts in a box: ``\boxed{...}`` or ``\fbox{...}``."""

import re

ASK_FOR_BOX = "End with the answer in \\boxed{}."
"""Asks an agent for such an answer."""

_TOKEN = re.compile(
    r"""
      (?P<box>\\{1,2}(?:boxed|fbox)\s*\{)     # two backslashes where the text was escaped once too often
    | \\{1,2}(?:boxed|fbox)(?![A-Za-z])\s*
      (?P<bare>(?:[-+.]?\d|\\[A-Za-z])(?:(?!\\[\])])[^\s${}]|\{[^{}]*\})*|[A-Za-z](?![A-Za-z]))
    | \\.                       # an escaped character, and with it an escaped brace
    | (?P<open>\{)
    | (?P<close>\})
    """,
    re.VERBOSE | re.DOTALL,
)


_NO_ANSWER = re.compile(r"(?:[?_.\s\u2026]|\\[lc]?dots|\\q?quad|\\hspace\{[^{}]*\}|\\[ ,;:!])*")
_BETWEEN = re.compile(
    r"(?:\s|\$|\\[()\[\],;: ]|[.:](?=\s*\$?\s*$))*(?P<joint>,|;|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|&)"
    r"(?:\s|\$|\\[()\[\],;: ]|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|,)*(?:(?P<name>[A-Za-z](?:_\{?\w\}?)?)\s*=\s*)?"
)
_NAME_IN_FRONT = re.compile(r"(?<![A-Za-z\\])(?P<name>[A-Za-z](?:_\{?\w\}?)?)\s*=\s*$")
_LONGEST_BETWEEN = 40


def last_boxed(text: str) -> str | None:
    r"""The content of the last box in ``text`` that is complete and not blank.

    Of nested boxes it is the outermost. A box without braces (``\boxed 7``) holds the number, the command or the
    single letter that follows. A box that is never closed does not count, but boxes inside it do. Neither does one
    that holds only a question mark or dots, as in a calculation with a gap.

    The time is linear in the length of the text, however many boxes are left open.

    Returns:
        The content without the white space around it, or None where there is no such box.
    """
    boxes = _boxes(text)
    return boxes[-1][2] if boxes else None


def all_boxed(text: str) -> list[str]:
    """The contents of all boxes that `last_boxed` counts, in the order of the text, without boxes inside boxes."""
    found: list[tuple[int, int, str]] = []
    for box in _boxes(text):
        while found and found[-1][0] > box[0]:
            found.pop()
        found.append(box)
    return [content for _, _, content in found]


def boxed_answer(text: str) -> str | None:
    r"""The answer in the last box, or in the last boxes with nothing but a comma, "and" or "or" between them.

    ``$x=\boxed{-4}$ and $x=\boxed{9}$`` is ``-4, 9``; ``$x=\boxed{3}$ and $y=\boxed{4}$`` is ``x=3, y=4``, so that it
    stays known which is which.

    Returns:
        The content as `last_boxed` gives it, several of them with commas between; None where there is no box.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    group = [boxes[-1]]
    names: list[str] = []
    for box in reversed(boxes[:-1]):
        first = group[0]
        if box[1] > first[0]:
            # It is inside the later one.
            continue
        between = text[box[1] : first[0]]
        match = _BETWEEN.fullmatch(between) if len(between) <= _LONGEST_BETWEEN else None
        if match is None:
            break
        group.insert(0, box)
        names.insert(0, match["name"] or "")
    if len(group) == 1:
        return boxes[-1][2]
    in_front = _NAME_IN_FRONT.search(text, max(0, group[0][0] - 20), group[0][0])
    names.insert(0, in_front["name"] if in_front else "")
    if all(names) and len(set(names)) == len(names):
        return ", ".join(f"{name}={content}" for name, (_, _, content) in zip(names, group, strict=True))
    return ", ".join(dict.fromkeys(content for _, _, content in group))


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Begin, end and content of all complete boxes with an answer, in the order in which they close."""
    found = []
    # Where each open group begins, and its content; None for a group that is no box.
    open_groups: list[tuple[int, int] | None] = []
    for token in _TOKEN.finditer(text):
        begin, content = token.start(), None
        if token["box"]:
            open_groups.append((token.start(), token.end()))
        elif token["open"]:
            open_groups.append(None)
        elif token["close"] and open_groups:
            group = open_groups.pop()
            if group is not None:
                begin, content = group[0], text[group[1] : token.start()]
        elif token["bare"]:
            content = token["bare"].rstrip(".,;:!?")
        if content is not None and not _NO_ANSWER.fullmatch(content):
            found.append((begin, token.end(), content.strip()))
    return found
