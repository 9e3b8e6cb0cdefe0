r"""Whether a reply names the right one of some options, in any of the usual spellings.

``C``, ``(c)``, ``C)``, ``C. aspirin``, ``\text{(C)}``, ``**C**``, ``option C``, and the whole text of an option. Two
labels, or a label that is denied, are no answer. Options may be labelled with letters or with digits.
"""

import re
from collections.abc import Mapping

from interlat.errors import InputError
from interlat.tasks.boxed import last_boxed
from interlat.tasks.graders.verdict import Verdict

_MARK = re.compile(
    r"\b(?:(?:answer|option|choice|letter)(?:\s+(?:is|would\s+be|must\s+be|should\s+be)\b|\s*:)"
    r"|I(?:\s+would|'d)?\s+(?:choose|pick|select|go\s+with))[\s:*]*",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"\\(?:text(?:bf|it|rm|normal)?|mathbf|mathrm|mbox|boxed|fbox|bf|rm)(?![A-Za-z])|\\[()\[\]]|[*_$`{}]"
)
_LEAD = re.compile(r"(?:(?:the|correct|right|best|final|option|choice|answer|letter)\b\s*:?\s*)*", re.IGNORECASE)
# "A" and "I" begin sentences, "2" and "c" stand in them; one of these words behind them says that they are labels.
_REASON = re.compile(r"\s+(?:because|since|as|for|due|given|is|was|in\s+this)\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\W*\s(?:(?:is|was|can|could)\s*(?:not|n't)\b|(?:isn|wasn|can|couldn)['\u2019]t\b"
    r"|(?:is|was)\s+(?:wrong|incorrect|false))",
    re.IGNORECASE,
)


def grade_choice(reply: str, answer: str, options: Mapping[str, str]) -> Verdict:
    """Judge the option that ``reply`` ends with.

    Args:
        reply: all that the model said.
        answer: the label of the right option.
        options: the text of each option by its label.

    Raises:
        InputError: the right answer is none of the options.
    """
    if answer not in options:
        raise InputError(f"the right answer {answer!r} is none of the options {', '.join(options)}; correct the task")
    label = chosen_option(reply, options)
    return Verdict(False, "unparsed") if label is None else Verdict(label == answer, "exact")


def chosen_option(reply: str, options: Mapping[str, str]) -> str | None:
    r"""The label of the option that a reply ends with, or None.

    Looked for in the last ``\boxed{...}``; where there is no box, behind the last ``####``; where there is none, behind
    the last "answer is", "option:" or the like that an option follows, and then in the last line.
    """
    boxed = last_boxed(reply)
    if boxed is not None:
        return _option_of(boxed, options)
    if "####" in reply:
        return _option_of(_first_line(reply.rpartition("####")[2]), options)
    for mark in reversed(list(_MARK.finditer(reply))):
        label = _option_of(_first_line(reply[mark.end() :]), options)
        if label is not None:
            return label
    last = reply.strip().rpartition("\n")[2]
    return _option_of(last, options) or _option_named_in(last, options)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _option_of(text: str, options: Mapping[str, str]) -> str | None:
    """The option that a text begins with, or is."""
    plain = " ".join(_MARKUP.sub(" ", text).split())
    plain = plain[_LEAD.match(plain).end() :]  # type: ignore[union-attr] # it also matches nothing
    bare = _bare(plain)
    alone = [label for label in options if label.casefold() == bare.strip("()[]: ")]
    same_text = [label for label, option in options.items() if bare and _bare(option) == bare]
    return next((found[0] for found in (alone, same_text) if len(found) == 1), None) or _leading(plain, options)


def _leading(plain: str, options: Mapping[str, str]) -> str | None:
    """The option whose label a text begins with."""
    labels = _labels(options)
    match = re.match(rf"(?P<open>[(\[]\s*)?(?P<label>{labels})(?(open)\s*[)\]]|(?!\w))", plain, re.IGNORECASE)
    if match is None:
        return None
    label, rest = match["label"], plain[match.end() :]
    another = re.match(
        rf"\W*?(?:,|;|/|&|\+|\b(?:or|and|nor|to)\b)\s*(?:option\s+|choice\s+)?[(\[]?(?:{labels})(?!\w)",
        rest,
        re.IGNORECASE,
    )
    if another or _DENIED.match(rest):
        return None
    is_marked = match["open"] or not rest or re.match(r"\s*[).:,;!\-\u2013\u2014](?!\w)", rest)
    if not is_marked and not (label.isupper() and label not in ("A", "I")) and not _REASON.match(rest):
        return None
    return _known(label, options)


def _option_named_in(line: str, options: Mapping[str, str]) -> str | None:
    """The one option that a line names as "option C" or "(C)"."""
    labels = _labels(options)
    named = re.finditer(
        rf"(?:\b(?:option|choice|answer)\s+[(\[]?|[(\[])(?P<label>{labels})(?!\w)[)\]]?", line, re.IGNORECASE
    )
    found = [(_known(match["label"], options), line[match.end() :]) for match in named]
    if len({label for label, _ in found}) != 1 or any(_DENIED.match(rest) for _, rest in found):
        return None
    return found[0][0]


def _labels(options: Mapping[str, str]) -> str:
    return "|".join(sorted(map(re.escape, options), key=len, reverse=True))


def _known(label: str, options: Mapping[str, str]) -> str:
    """A label as the task spells it."""
    return next(known for known in options if known.casefold() == label.casefold())


def _bare(text: str) -> str:
    return " ".join(_MARKUP.sub(" ", text).casefold().split()).strip(" .")
