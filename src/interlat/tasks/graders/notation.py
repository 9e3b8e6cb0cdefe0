r"""What only changes how an answer looks: signs that are no LaTeX, fonts, spaces, marks in front.

The result is LaTeX in one spelling. Nothing here changes a value, and nothing is dropped that may be a unit.
"""

import re
import unicodedata

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()", strict=True))
_SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u200b\u200c\u200d\u2060\u2061\u2062\u2063\ufeff\u00ad"
_COMMANDS = {
    "\u00d7": "times", "\u00b7": "cdot", "\u22c5": "cdot", "\u00b1": "pm", "\u03c0": "pi", "\u03b8": "theta",
    "\u221e": "infty", "\u2264": "le", "\u2265": "ge", "\u2260": "ne", "\u2248": "approx", "\u2208": "in",
    "\u222a": "cup", "\u2229": "cap", "\u2205": "emptyset", "\u2234": "therefore", "\u2026": "ldots",
}  # fmt: skip
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"),  # minus, hyphens, en dash
        **dict.fromkeys(_SPACES, " "),
        **dict.fromkeys(_INVISIBLE, ""),
        **dict.fromkeys("\u2018\u2019\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **{chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F) if wide != 0xFF0D},
        **{
            chr(sign): " " + unicodedata.normalize("NFKC", chr(sign)).replace("\u2044", "/")
            for sign in (*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189)
        },
        **{sign: f"\\{command} " for sign, command in _COMMANDS.items()},
        **dict.fromkeys("\u00f7\u2044", "/"),
        "\u211d": r"\mathbb{R}",
        "\u00ba": "\u00b0",
    }
)
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_ROOT = re.compile(r"(?P<index>[\u221a\u221b\u221c])\s*(?P<under>\d+(?:\.\d+)?|[A-Za-z]|(?=[({\\]))")
_ROOTS = {"\u221a": r"\sqrt", "\u221b": r"\sqrt[3]", "\u221c": r"\sqrt[4]"}

_FONT = r"\\(?:displaystyle|textstyle|scriptstyle|tiny|small|large|Large|LARGE|huge|Huge|bf|rm|it|sf|tt|normalsize)"
_REPLACEMENTS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<![\w)])\*\*(?=\S)(.+?)(?<=\S)\*\*(?![\w(])", r"\1"),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r"\\?\$|`|\"", ""),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])", ""),
        (rf"{_FONT}(?![A-Za-z])", ""),
        (r"\\(?:text)?color\s*\{[A-Za-z]+\}", ""),
        (r"\\(?:underline|boldsymbol|mathbf|mathsf|mathit|bm|ensuremath)(?=\s*\{[^{}]*\})", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"(?<!\\)\\[!,]", ""),
        (r"(?<!\\)\\[;: ]|~|\\(?:q?quad|thinspace|space)(?![A-Za-z])", " "),
        (r"\{,\}", ","),
        (r"\\(?:boxed|fbox)(?![A-Za-z])", ""),
        (r"\\%|(?<=[\d}])\s*per\s?cent\b", "%"),
        (r"\\dots(?![A-Za-z])|\.\.\.+", r"\\ldots"),
        (r"\\leq(?:slant)?(?![A-Za-z])", r"\\le"),
        (r"\\geq(?:slant)?(?![A-Za-z])", r"\\ge"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\neq(?![A-Za-z])", r"\\ne"),
        (r"\\(?:langle|lparen)(?![A-Za-z])", "("),
        (r"\\(?:rangle|rparen)(?![A-Za-z])", ")"),
        (r"\\l(?:brace|gt)(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset"),
        (r"\+\s*\\infty", r"\\infty"),
        (r"(?i)\b([ap])\.\s?m\b\.?", r"\1m"),
        (r"(?<=[A-Za-z])_([A-Za-z\d])(?![A-Za-z\d])", r"_{\1}"),
        (r"(?<![A-Za-z\\])sqrt(?=[({])", r"\\sqrt"),
    )
)
_IN_FRONT = re.compile(r"(?:\s*(?:=|\\(?:approx|therefore|implies|Rightarrow|rightarrow|sim|colon)(?![A-Za-z])|:))+\s*")
_NEGATIVE = re.compile(r"(?:negative|minus)\s+(?=[\d.\\])", re.IGNORECASE)
_GROUPED = re.compile(r"(?<![\d.,\w])\d{1,3}(?: \d{3})+(?! ?\d| ?/)")
_DEGREE = r"(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degrees?(?![A-Za-z])|°)"
_DEGREES = re.compile(_DEGREE)
_NUMBER_OF_DEGREES = re.compile(rf"(\d+(?:\.\d+)?)\s*{_DEGREE}")
_TEMPERATURE = re.compile(rf"(?<=\d)\s*{_DEGREE}\s*(?:\\(?:text|mathrm)\s*\{{\s*[CFK]\s*\}}|[CFK](?![A-Za-z]))")
_FUNCTION_OF_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")


def in_one_spelling(text: str) -> str:
    r"""``text`` without what only changes how it looks.

    Degrees are dropped like a unit, except behind a function such as ``\cos``, where they become radians.
    """
    text = _RAISED.sub(lambda match: f"^{{{''.join(map(_SUPERSCRIPTS.__getitem__, match[0]))}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{''.join(map(_SUBSCRIPTS.__getitem__, match[0]))}}}", text)
    text = _ROOT.sub(lambda match: _ROOTS[match["index"]] + (match["under"] and f"{{{match['under']}}}"), text)
    text = text.translate(_SIGNS)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = _with_braces_under_roots(text)
    text = _TEMPERATURE.sub("", text)
    if _FUNCTION_OF_ANGLE.search(text):
        text = _NUMBER_OF_DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    text = without_braces(_DEGREES.sub("", text).strip().rstrip(".,;:\\").strip())
    in_front = _IN_FRONT.match(text)
    text = _NEGATIVE.sub("-", text[in_front.end() if in_front else 0 :], count=1)
    return _GROUPED.sub(lambda match: match[0].replace(" ", ""), without_braces(text.strip()))


def _with_braces_under_roots(text: str) -> str:
    r"""``\sqrt{2}`` for ``\sqrt(2)``."""
    before, root, after = text.partition(r"\sqrt(")
    if not root or (end := closing(f"({after}")) < 0:
        return text
    return f"{before}\\sqrt{{{after[: end - 1]}}}{_with_braces_under_roots(after[end:])}"


def without_braces(text: str) -> str:
    """``text`` without braces around all of it."""
    while text.startswith("{") and closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def closing(text: str) -> int:
    """Where the bracket closes that ``text`` begins with; -1 if it never does."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return place
    return -1
