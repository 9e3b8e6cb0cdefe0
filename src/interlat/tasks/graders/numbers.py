r"""Answers that are one number, read exactly: decimals, fractions, mixed numbers, percentages, powers of ten."""

import re
from dataclasses import dataclass
from fractions import Fraction

from interlat.tasks.graders.units import changes_value

DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_POWER_OF_TEN = (
    r"(?:[eE](?P<e>[-+]?\d{1,3})"
    r"|\s?(?:\\times|\\cdot|[x*])\s?10\^(?:\{(?P<braced>[-+]?\d{1,3})\}|(?P<digits>-?\d{1,3})))"
)
_NUMBER = re.compile(
    rf"""
    (?:(?P<before>[A-Za-z][A-Za-z' ]*):?\s)?
    (?P<sign>[-+]?)[£€¥₹]?
    (?:
      (?P<decimal>\d*\.\d*)(?:\\(?:overline|bar)\{{(?P<period>\d+)\}}
        |\\dot\{{(?P<first>\d)\}}(?:(?P<between>\d*)\\dot\{{(?P<last>\d)\}})?)
    | (?P<going_on>\d*\.\d+),?\\ldots
    | (?:(?P<whole>\d+)\s?)?\\frac\s?(?:\{{(?P<top>[-+]?{DECIMAL})\}}|(?P<top_digit>\d))
      \s?(?:\{{(?P<bottom>[-+]?{DECIMAL})\}}|(?P<bottom_digit>\d))
    | (?:(?P<whole_part>\d+)\s)?(?P<over>{DECIMAL})/(?P<under>{DECIMAL})
    | (?P<only>{DECIMAL}){_POWER_OF_TEN}?
    )
    [£€¥₹]?(?P<percent>%?)
    (?:\s(?P<after>[A-Za-z][A-Za-z' ]*))?
    """,
    re.VERBOSE,
)
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALE = re.compile(rf"(?P<word>{'|'.join(_SCALES)})s?\b\s*", re.IGNORECASE)
_PERIODIC = re.compile(r"(?P<decimal>\d*\.\d*?)(?P<period>\d+?)(?P=period)+")


@dataclass(frozen=True)
class ExactNumber:
    """A number as it was written."""

    value: Fraction
    is_percent: bool

    def is_same_as(self, gold: "ExactNumber") -> bool:
        """Whether this is the right answer. ``20%`` is ``20`` and ``0.2``, since questions ask for either."""
        if self.is_percent == gold.is_percent:
            return self.value == gold.value
        percent, other = (self.value, gold.value) if self.is_percent else (gold.value, self.value)
        return other in (percent, percent / 100)


def number_in(text: str) -> ExactNumber | None:
    """The one number in an answer in one spelling, which may have words around it that do not change its value."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    before, after = match["before"] or "", match["after"] or ""
    scale = _SCALE.match(after)
    after = after[scale.end() :] if scale else after
    # A single letter is a variable, unless it is in a sentence.
    is_sentence = re.search("[A-Za-z]{3}", f"{before} {after}")
    if changes_value(before, after) or (before + after and not is_sentence):
        return None
    value = _value(match)
    if value is None:
        return None
    value *= _SCALES[scale["word"].casefold()] if scale else 1
    return ExactNumber(-value if match["sign"] == "-" else value, bool(match["percent"]))


def _value(match: re.Match[str]) -> Fraction | None:
    if match["decimal"]:
        dotted = (match["first"], match["between"], match["last"])
        return _periodic(match["decimal"], match["period"] or "".join(digits or "" for digits in dotted))
    if match["going_on"]:
        shown = _PERIODIC.fullmatch(match["going_on"])
        # Twice the same digit is not enough to know how it goes on.
        is_clear = shown and len(match["going_on"]) - len(shown["decimal"]) > 2
        return _periodic(shown["decimal"], shown["period"]) if shown and is_clear else None
    if match["only"]:
        # The digits of a power are at most three, so that no number is too long.
        return _fraction(match["only"]) * Fraction(10) ** int(match["e"] or match["braced"] or match["digits"] or 0)
    bottom = _fraction(match["bottom"] or match["bottom_digit"] or match["under"])
    if not bottom:
        return None
    top = _fraction(match["top"] or match["top_digit"] or match["over"])
    return _fraction(match["whole"] or match["whole_part"] or "0") + top / bottom


def _periodic(decimal: str, period: str) -> Fraction:
    shift = 10 ** len(decimal.partition(".")[2])
    return _fraction(f"0{decimal}") + Fraction(int(period), 10 ** len(period) - 1) / shift


def _fraction(decimal: str) -> Fraction:
    return Fraction(decimal.replace(",", ""))
