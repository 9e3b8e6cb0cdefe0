r"""What is counted or measured: ``12\text{ cm}^2``, ``26 slices of bread``, ``\$4,200/month``.

A unit is dropped, neither compared nor converted. Words that change the value of a number stay: ``6 dozen``.
"""

import re

_CHANGES_VALUE = re.compile(
    r"\b(?:not|plus|minus|negative|half|halves|thirds?|quarters?|twice|double|dozens?|hundreds?|thousands?|millions?"
    r"|billions?|trillions?|pi|root|sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|mod|choose|factorial|squared|cubed|power|e|i"
    r"|am|pm)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s*(?:and|or|to|over|base|less|fewer)\b", re.IGNORECASE)
"""Behind a number, another value follows: ``2 or more``. Later such words only name: ``2 cats and dogs``."""
_LEADS_ON = re.compile(r"\b(?:and|or|to|of|over|times|than|base|from|by)\s*$", re.IGNORECASE)
"""Right in front of a number, it is only a part of the value: ``half of 8``."""

_SHORT = (
    r"(?:(?:[kcmdnMG]|\\mu\s?)?(?:m|g|s|L|l|V|W|N|J|A|Pa|Hz|mol|eV|cal|Wh)|kgs|gms?|ft|in|yd|mi|oz|lbs?|hrs?|h|mins?"
    r"|secs?|yrs?|mph|km?ph|sq|cc|K|C|F|rad|deg|Rs)"
)
_POWER = r"\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d)"
_WRAPPED = r"\\(?:text(?:rm|normal|bf|it)?|mbox|mathrm|mathit|rm)\s*\{(?P<wrapped>(?:[^{}\d]|\^\s*\{?-?\d\}?)*)\}"
_WORD = re.compile(
    rf"(?P<sign>\s*(?:/|\\cdot(?![A-Za-z])|\*)\s*)?(?P<space>\s*)"
    rf"(?:{_WRAPPED}|(?P<bare>[A-Za-z][A-Za-z&'.-]*))(?P<power>{_POWER})?"
)
_PREPOSITION = re.compile("of|in|at|on|by", re.IGNORECASE)
_SHORT_WORD = re.compile(rf"{_SHORT}\.?")
_PARENTHESIS = re.compile(r"\s+\((?P<words>[A-Za-z][A-Za-z /.-]+)\)")
_FRACTION_OF_UNITS = re.compile(
    r"\\frac\s*\{\s*\\(?:text|mathrm)\{([^{}\d]*)\}\s*\}\s*\{\s*\\(?:text|mathrm)\{([^{}\d]*)\}\s*\}"
)
_NUMBER = re.compile(r"-?[\d.,]+")
_VALUE_ENDS = re.compile(r"(?<=[\d)}%\]])|(?<=\\pi)(?![A-Za-z])|(?<=[A-Za-z])(?=\s*\\(?:text|mathrm|mbox)(?![A-Za-z]))")
_ORDINAL = re.compile(r"(?<=\d)\s*\^?\s*\{?\s*\\(?:text|mathrm|textsuperscript)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?")
_BARE_ORDINAL = re.compile(
    r"(?:(?<=1)(?<!11)st|(?<=2)(?<!12)nd|(?<=3)(?<!13)rd|(?<=[04-9])th|(?<=1[123])th)(?![A-Za-z])"
)


def without_unit(text: str, may_be_variable: bool = True) -> str:
    """An answer in one spelling without the unit behind its number.

    With ``may_be_variable``, a letter behind a number may be a variable, as in ``4t``; where the right answer has no
    letter, a letter that is a unit is one.
    """
    text = _FRACTION_OF_UNITS.sub(r"\\text{ \1/\2}", _ORDINAL.sub("", text))
    if not may_be_variable:
        text = _BARE_ORDINAL.sub("", text)
    # The first end of a value behind which there is nothing but a unit. What stands there is at least a letter.
    for end in (match.end() for match in _VALUE_ENDS.finditer(text)):
        if text[end : end + 1].isdigit():
            continue
        # "2 m" with a space is a length, 2m is a product.
        is_apart = re.match(r"\s+[mgsLVWNJ]\b", text[end:]) and _NUMBER.fullmatch(text[:end])
        if _is_unit(text[end:], may_be_variable and not is_apart):
            return text[:end]
    return text


def _is_unit(text: str, may_be_variable: bool) -> bool:
    words, place = [], 0
    while word := _WORD.match(text, place):
        words.append(word)
        place = word.end()
    parenthesis = _PARENTHESIS.match(text, place)
    if parenthesis:
        place = parenthesis.end()
    if text[place:].strip(" .!") or not (words or parenthesis):
        return False
    said = " ".join(word["wrapped"] or word["bare"] or "" for word in words)
    if _CHANGES_VALUE.search(f"{said} {parenthesis['words'] if parenthesis else ''}") or _GOES_ON.match(said):
        return False
    return not words or _may_begin(words, may_be_variable)


def _may_begin(words: list[re.Match[str]], may_be_variable: bool) -> bool:
    """Whether a unit may begin with the first of these words."""
    bare = words[0]["bare"]
    if bare is None:
        return True
    if words[0]["sign"]:
        # By month, but 2/h is a quotient.
        return words[0]["sign"].strip() == "/" and len(bare) > 2
    if not _SHORT_WORD.fullmatch(bare):
        if words[0]["space"]:
            return len(bare) > 2 or bool(_PREPOSITION.fullmatch(bare) and words[1:])
        return len(bare) > 3 and not may_be_variable
    is_quotient = len(words) > 1 and words[0]["space"] and (words[1]["sign"] or "").strip() == "/"
    return len(bare.rstrip(".")) > 1 or not may_be_variable or bool(is_quotient)


def changes_value(before: str, after: str) -> bool:
    """Whether the words before and after a number say that it is not the whole value."""
    return bool(_CHANGES_VALUE.search(f"{before} {after}") or _LEADS_ON.search(before) or _GOES_ON.match(after))
