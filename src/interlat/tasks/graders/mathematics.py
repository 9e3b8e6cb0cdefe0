r"""Whether a reply gives the right answer to a question of mathematics.

Three judges in turn: the same text, the same number (exactly, as fractions), the same expression (math-verify).

A unit is dropped, neither compared nor converted. ``20%`` is the same as ``20`` and as ``0.2``, since questions ask
for a percentage in either way; ``20`` is not the same as ``0.2``.

Expressions are compared in processes that are killed when their time is over (`interlat.tasks.graders.symbolic`).
Powers, factorials and binomials that would take forever are refused before that, so that nearly no verdict depends on
how fast the machine is.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from interlat.errors import InputError
from interlat.tasks.boxed import last_boxed
from interlat.tasks.graders.symbolic import same_expression
from interlat.tasks.graders.verdict import Verdict

LONGEST_ANSWER = 1000
"""Characters; a longer one is no answer."""

_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_FRACTION = rf"\\[dtc]?frac\s*(?:\{{[-+]?{_DECIMAL}\}}|\d)\s*(?:\{{[-+]?{_DECIMAL}\}}|\d)"
_POWER_OF_TEN = (
    r"(?:[eE](?P<e>[-+]?\d{1,3})"
    r"|\s?(?:\\times|\\cdot|[x*])\s?10\^(?:\{(?P<braced>[-+]?\d{1,3})\}|(?P<digits>-?\d{1,3})))"
)
_SPACED_POWER = r"(?:[eE][-+]?\d{1,3}|\s*(?:\\times|\\cdot|[x*\u00d7\u00b7])\s*10\^(?:\{[-+]?\d{1,3}\}|-?\d{1,3}))"
_LAST_NUMBER = re.compile(
    rf"(?<![\w)}}\]])[-+]?\$?(?:{_FRACTION}|\d+\s\d+/\d+|{_DECIMAL}(?:{_SPACED_POWER}|\s?/\s?\d+)?)(?:\s?\\?%)?|{_DECIMAL}"
)
_ANSWER_MARK = re.compile(r"\banswer(?:\s+is\b|\s*:)[\s:*]*", re.IGNORECASE)


def final_answer(reply: str) -> str | None:
    r"""The answer that a reply ends with.

    The first of these that there is: the last ``\boxed{...}``; what follows the last ``####``; what follows the last
    "answer is" or "Answer:", up to the end of its sentence or line; the last number.

    Returns:
        The answer as it stands in the reply, or None where there is none of these.
    """
    boxed = last_boxed(reply)
    if boxed is not None:
        return boxed
    ends = [reply.rfind("####") + 4] if "####" in reply else []
    ends += [mark.end() for mark in list(_ANSWER_MARK.finditer(reply))[-1:]]
    for end in ends:
        line = reply[end:].strip().partition("\n")[0]
        if answer := re.split(r"\.\s", line)[0].lstrip(" *").rstrip(" *."):
            return answer
    numbers = _LAST_NUMBER.findall(reply)
    return numbers[-1].rstrip(".") if numbers else None


def grade_mathematics(reply: str, answer: str) -> Verdict:
    """Judge the final answer of ``reply`` against the right one.

    Args:
        reply: all that the model said, or only its answer in a box.
        answer: the right answer as data sets give it: a number, LaTeX, or words.

    Raises:
        InputError: ``answer`` is empty.
    """
    if not answer.strip():
        raise InputError(
            "there is no right answer to grade against, expected a number, LaTeX or words; add it to the task"
        )
    reply_answer = final_answer(reply)
    if reply_answer is None or len(reply_answer) > LONGEST_ANSWER:
        return Verdict(False, "unparsed")
    found, gold = _plain(reply_answer), _plain(answer)
    if found == gold:
        return Verdict(True, "exact")
    if _BASE.search(found) or _BASE.search(gold):
        # math-verify ignores bases. The question names the base, so that a reply may leave it out.
        digits = {gold.translate(_NO_BRACES), _BASE.sub("", gold)}
        return Verdict(found.translate(_NO_BRACES) in digits, "exact")
    found_number, gold_number = _number(found), _number(gold)
    if found_number and gold_number:
        return Verdict(_same_number(found_number, gold_number), "numeric")
    if _WORDS.fullmatch(gold) or _TEXT.fullmatch(answer.strip()):
        # math-verify reads a word as a product of letters, in which their order does not count.
        return Verdict(found.casefold() == gold.casefold(), "exact")
    return _symbolic(found, gold)


_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|mathbf|operatorname)\s*\{(?P<words>[^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z .,'-]{3,}")
_BASE = re.compile(r"(?<=\d)_(?:\{[^{}]*\}|\w+)")
_NO_BRACES = str.maketrans("", "", "{}")
_SYMBOLS = str.maketrans(
    # minus, times, dot, pi, infinity, less or equal, greater or equal, square and cube
    {
        "\u2212": "-",
        "\u00d7": r"\times ",
        "\u00b7": r"\cdot ",
        "\u03c0": r"\pi ",
        "\u221e": r"\infty ",
        "\u2264": r"\le ",
        "\u2265": r"\ge ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        # one half, one and three quarters, one and two thirds
        "\u00bd": " 1/2",
        "\u00bc": " 1/4",
        "\u00be": " 3/4",
        "\u2153": " 1/3",
        "\u2154": " 2/3",
    }
)
_REPLACEMENTS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<![\w)])\*\*(?=\S)(.+?)(?<=\S)\*\*(?![\w(])", r"\1"),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r"\\?\$", ""),
        (r"\\(?:left|right)(?![A-Za-z])", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"(?<!\\)\\[!,]", ""),
        (r"(?<!\\)\\[;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\{,\}", ","),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degrees?(?![A-Za-z])|°", ""),
        (r"\\(?:boxed|fbox)(?![A-Za-z])", ""),
        (r"\\%|(?<=[\d}])\s*per\s?cent\b", "%"),
    )
)
_CHANGES_VALUE = re.compile(
    r"\b(?:and|or|to|not|of|over|plus|minus|negative|times|half|third|quarter|twice|double|dozen|hundred|thousand|million"
    r"|billion|trillion|pi|root|sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|mod|base|choose|factorial|squared|cubed|power"
    r"|than|e|i|am|pm)\b",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"(?P<value>.*(?:[\d)}%]|\\pi))(?:\s*\\(?:text(?:rm)?|mbox|mathrm)\{\s*(?P<wrapped>[A-Za-z .]+)\}"
    r"|\s+(?P<words>(?:km|m|cm|mi|ft|kg|g|lb|L|ml|[A-Za-z]{3,})\s?/\s?(?:h|hr|s|sec|min|[A-Za-z]{3,})"
    r"|(?:[A-Za-z]{3,}|cm|mm|km|kg|mg|ml|ft|in|mi|lb|oz|hr|yd)(?:\s[A-Za-z]{2,})*))(?:\^\{?\d\}?)?",
    re.DOTALL,
)


def _plain(text: str) -> str:
    """``text`` without what only changes how it looks, and without a unit."""
    text = text.translate(_SYMBOLS)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = _without_braces(text.strip().rstrip(".,;:").strip())
    unit = _UNIT.fullmatch(text)
    if unit and not _CHANGES_VALUE.search(unit["wrapped"] or unit["words"]):
        text = unit["value"]
    text = _TEXT.sub(r" \g<words> ", text)
    # Between two words or numbers a space has a meaning: 1 1 is not 11.
    text = re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", re.sub(r"\s+", " ", text))
    choice = re.fullmatch(r"\(([A-Z])\)", text)
    return choice[1] if choice else text


def _without_braces(text: str) -> str:
    """``text`` without braces around all of it."""
    while text.startswith("{") and _closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closing(text: str) -> int:
    """Where the bracket closes that ``text`` begins with; -1 if it never does."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return place
    return -1


_NUMBER = re.compile(
    rf"""
    (?:(?P<before>[A-Za-z][A-Za-z' ]*)\s)?
    (?P<sign>[-+]?)[£€¥]?
    (?:
      (?P<decimal>\d*\.\d*)\\overline\{{(?P<period>\d+)\}}
    | (?:(?P<whole>\d+)\s?)?\\frac\s?(?:\{{(?P<top>[-+]?{_DECIMAL})\}}|(?P<top_digit>\d))
      \s?(?:\{{(?P<bottom>[-+]?{_DECIMAL})\}}|(?P<bottom_digit>\d))
    | (?:(?P<whole_part>\d+)\s)?(?P<over>{_DECIMAL})/(?P<under>{_DECIMAL})
    | (?P<only>{_DECIMAL}){_POWER_OF_TEN}?
    )
    [£€¥]?(?P<percent>%?)
    (?:\s(?P<after>[A-Za-z][A-Za-z' ]*))?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Number:
    value: Fraction
    is_percent: bool


def _number(text: str) -> _Number | None:
    """The one number in plain ``text``, which may have words around it that do not change its value."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    words = f"{match['before'] or ''} {match['after'] or ''}"
    # A single letter is a variable, unless it is in a sentence.
    if _CHANGES_VALUE.search(words) or (words.strip() and not re.search("[A-Za-z]{3}", words)):
        return None
    if match["period"]:
        shift = 10 ** len(match["decimal"].partition(".")[2])
        repeated = Fraction(int(match["period"]), 10 ** len(match["period"]) - 1)
        value = _fraction(f"0{match['decimal']}") + repeated / shift
    elif match["only"]:
        # The digits of a power are at most three, so that no number is too long.
        value = _fraction(match["only"]) * Fraction(10) ** int(match["e"] or match["braced"] or match["digits"] or 0)
    else:
        bottom = _fraction(match["bottom"] or match["bottom_digit"] or match["under"])
        if not bottom:
            return None
        top = _fraction(match["top"] or match["top_digit"] or match["over"])
        value = _fraction(match["whole"] or match["whole_part"] or "0") + top / bottom
    return _Number(-value if match["sign"] == "-" else value, bool(match["percent"]))


def _fraction(decimal: str) -> Fraction:
    return Fraction(decimal.replace(",", ""))


def _same_number(found: _Number, gold: _Number) -> bool:
    if found.is_percent == gold.is_percent:
        return found.value == gold.value
    percent, other = (found.value, gold.value) if found.is_percent else (gold.value, found.value)
    return other in (percent, percent / 100)


_EXPONENT = re.compile(
    r"(?:\^|\*\*)\s*(\{(?:[^{}]|\{[^{}]*\})*\}|\((?:[^()]|\([^()]*\))*\)|-?\d+|.?)(?P<tower>\s*(?:\^|\*\*))?"
)
_LARGEST_POWER = 10**6
_LARGEST_ARGUMENT = 10**4
_LARGEST_OF_BOTH = 10**3


def _symbolic(found: str, gold: str) -> Verdict:
    """What math-verify says; the right answer goes first, since it is not symmetric."""
    if _explodes(found) or _explodes(gold):
        return Verdict(False, "unparsed")
    if {_shape(found), _shape(gold)} in ({"brackets", "braces"}, {"brackets", "list"}):
        # math-verify takes (1,3), which has an order or is an interval, for the set {1,3}.
        return Verdict(False, "symbolic")
    same = same_expression(gold, found)
    return Verdict(False, "unparsed") if same is None else Verdict(same, "symbolic")


def _explodes(text: str) -> bool:
    """Whether evaluating ``text`` may take forever: towers of powers, huge exponents, factorials and binomials."""
    powers = 1
    for exponent in _EXPONENT.finditer(text):
        power = exponent[1]
        # A letter to a power, as in e^{x^2}, stays as it is; what cannot be read here is nested too deep.
        if exponent["tower"] or power in ("{", "(", "") or re.search(r"[\d)}]\s*(?:\^|\*\*)|!", power):
            return True
        powers *= math.prod(max(1, int(digits)) for digits in re.findall(r"\d+", power))
    if "!" not in text and "binom" not in text:
        return powers > _LARGEST_POWER
    largest = max((int(digits) for digits in re.findall(r"\d+", text)), default=0)
    limit = _LARGEST_ARGUMENT if powers == 1 else _LARGEST_OF_BOTH
    return max(powers, largest) > limit or bool(re.search(r"[!)}]\s*!", text))


def _shape(text: str) -> str:
    if text.startswith(r"\{"):
        return "braces"
    closing = _closing(text) if text.startswith(("(", "[")) else -1
    if closing == len(text) - 1 and "," in text:
        return "brackets"
    return "list" if "," in text and closing < 0 else "other"
