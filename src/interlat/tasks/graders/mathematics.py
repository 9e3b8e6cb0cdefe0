r"""Whether a reply gives the right answer to a question of mathematics.

Three judges in turn: the same text, the same number (exactly, as fractions), the same expression (math-verify's reader
and comparison, see `interlat.tasks.graders.expressions`).

A unit is dropped, neither compared nor converted. ``20%`` is the same as ``20`` and as ``0.2``, since questions ask
for a percentage in either way; ``20`` is not the same as ``0.2``. Words and times are compared as such.

Expressions are compared in processes that give up when their computing time is over
(`interlat.tasks.graders.symbolic`). Powers, factorials and binomials that would take forever are refused before that,
so that nearly no verdict depends on how fast the machine is.
"""

import math
import re
from collections.abc import Iterable

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.graders.final_answer import final_answer
from interlat.tasks.graders.notation import in_one_spelling
from interlat.tasks.graders.numbers import number_in
from interlat.tasks.graders.shapes import comparable, in_one_form
from interlat.tasks.graders.symbolic import same_expression
from interlat.tasks.graders.units import without_unit
from interlat.tasks.graders.verdict import Grader, Verdict
from interlat.tasks.sandbox.execution import Limits

LONGEST_ANSWER = 1000
"""Characters; a longer one is no answer."""


def grade_mathematics(reply: str, answer: str) -> Verdict:
    """Judge the final answer of ``reply`` against the right one: a number, LaTeX, or words.

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
    gold = _plain(answer)
    found = _plain(reply_answer, may_have_variable=bool(_LETTER.search(gold)))
    if found == gold:
        return Verdict(True, "exact")
    if _BASE.search(found) or _BASE.search(gold):
        # math-verify ignores bases. The question names the base, so that a reply may leave it out.
        digits = {gold.translate(_NO_BRACES), _BASE.sub("", gold)}
        return Verdict(found.translate(_NO_BRACES) in digits, "exact")
    found_number, gold_number = number_in(found), number_in(gold)
    if found_number and gold_number:
        return Verdict(found_number.is_same_as(gold_number), "numeric")
    if _TIME.fullmatch(found) or _TIME.fullmatch(gold):
        return Verdict(_same_time(found, gold), "exact")
    found, gold = in_one_form(found), in_one_form(gold)
    # A name or words, and no product of variables such as xy, which are in their order.
    is_words = _WORDS.fullmatch(gold) and not (len(gold) < 4 and _PRODUCT.fullmatch(gold))
    if is_words or (_TEXT.fullmatch(answer.strip()) and not re.search(r"[\\(]", gold)):
        # math-verify reads a word as a product of letters, in which their order does not count.
        return Verdict(_named(found, gold) == _named(gold, gold), "exact")
    return _symbolic(found, gold)


_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|mathbf|operatorname)\s*\{(?P<words>[^{}]*)\}")
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_BASE = re.compile(r"(?<=\d)_(?:\{[^{}]*\}|\w+)")
_NO_BRACES = str.maketrans("", "", "{}")


def _plain(text: str, may_have_variable: bool = True) -> str:
    """``text`` without what only changes how it looks, and without a unit."""
    text = without_unit(in_one_spelling(text), may_have_variable)
    text = _TEXT.sub(r" \g<words> ", text)
    # Between two words or numbers a space has a meaning: 1 1 is not 11.
    text = re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", re.sub(r"\s+", " ", text))
    choice = re.fullmatch(r"\(([A-Z])\)", text)
    return choice[1] if choice else text


_TIME = re.compile(r"(?=\d+\D)(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d))?\s?(?P<half>[AaPp][Mm])?")
_HOUR = re.compile(r"(?P<hour>\d{1,2})(?P<minute>)(?P<half>)")


def _same_time(found: str, gold: str) -> bool:
    """Whether two answers, of which one is a time, are the same. A.m. or p.m. may be left out, as a unit may."""
    times = [_TIME.fullmatch(text) or _HOUR.fullmatch(text) for text in (found, gold)]
    if None in times:
        # It may be a ratio, which is the same as its quotient only in the same numbers: 8:30 is not 4:15.
        return _quotient(found) == _quotient(gold)
    (hour, minute, half), (gold_hour, gold_minute, gold_half) = (
        (int(time["hour"]), int(time["minute"] or 0), (time["half"] or "").casefold()) for time in times if time
    )
    return (hour, minute) == (gold_hour, gold_minute) and (half == gold_half or not (half and gold_half))


def _quotient(text: str) -> str:
    return re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", text).replace(":", "/")


_WORDS = re.compile(r"[A-Za-z]{2,}|[A-Za-z](?:[A-Za-z .,']|(?<=[A-Za-z]{3})-(?=[A-Za-z]{3})){3,}")
_PRODUCT = re.compile(r"a?b?c?d?f?g?h?j?k?l?m?n?p?q?r?s?t?v?w?x?y?z?")
_ARTICLE = re.compile(r"(?:(?:a|an|the|on|in|at)\s+)+", re.IGNORECASE)


def _named(text: str, gold: str) -> str:
    """Words as they are compared; of ``C) 12``, where a letter is asked for, the letter."""
    letter = re.fullmatch(r"\(?(?P<label>[A-Z])[).:]+.*", text, re.DOTALL)
    if letter and re.fullmatch("[A-Z]", gold):
        return letter["label"].casefold()
    return _ARTICLE.sub("", text, count=1).casefold() if _ARTICLE.match(text) else text.casefold()


_EXPONENT = re.compile(
    r"(?:\^|\*\*)\s*(\{(?:[^{}]|\{[^{}]*\})*\}|\((?:[^()]|\([^()]*\))*\)|-?\d+|.?)(?P<tower>\s*(?:\^|\*\*))?"
)
_LARGEST_POWER = 10**6
_LARGEST_ARGUMENT = 10**4
_LARGEST_OF_BOTH = 10**3
_INDEXED_E = re.compile(r"(?<![A-Za-z\\])E(?=_)")
_EXPONENT_FORM = re.compile(r"(?<=\d)[eE]([-+]?\d{1,3})(?![\d.])")


def _symbolic(found: str, gold: str) -> Verdict:
    """What math-verify says; the right answer goes first, since it is not symmetric."""
    if _explodes(found) or _explodes(gold):
        return Verdict(False, "unparsed")
    sides = comparable(found, gold)
    if sides is None:
        return Verdict(False, "symbolic")
    # The reader takes E for a number in exponent form, and 1e5 for a product.
    found, gold = (_EXPONENT_FORM.sub(r"\\cdot10^{\1}", _INDEXED_E.sub(r"\\text{E}", side)) for side in sides)
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


class Mathematics(Grader):
    """Compares the final answer with the right one and its alternatives, see `grade_mathematics`."""

    def grade(self, reply: str, task: Task, limits: Limits | None = None) -> Verdict:
        verdict = grade_mathematics(reply, task.answer)
        for answer in task.alternatives:
            verdict = verdict if verdict.correct else grade_mathematics(reply, answer)
        return verdict

    def extracted(self, reply: str, task: Task) -> str | None:
        return final_answer(reply)

    def corruptions(self, task: Task) -> Iterable[str]:
        """The last digit changed by one; where there is no digit, another word or one more summand."""
        yield f"\\boxed{{{_with_mistake(task.answer)}}}"


_LAST_DIGIT = re.compile(r"\d(?=\D*$)")
_WORDS_ALONE = re.compile(r"[A-Za-z]{2,}(?![A-Za-z]*\{)")


def _with_mistake(answer: str) -> str:
    plain = in_one_spelling(answer)
    value = without_unit(plain)
    # Not the exponent of a unit, which the grader leaves out.
    answer = value if value != plain else answer
    if digit := _LAST_DIGIT.search(answer):
        return f"{answer[: digit.start()]}{(int(digit[0]) + 1) % 10}{answer[digit.end() :]}"
    choice = re.search(r"(?<![A-Za-z\\])[A-Z](?![A-Za-z])", answer)
    if choice and re.fullmatch(r"\(?[A-Z]\)?|\\text\{\(?[A-Z]\)?\}", answer):
        return f"{answer[: choice.start()]}{'B' if choice[0] == 'A' else 'A'}{answer[choice.end() :]}"
    if answer.startswith("\\text{"):
        return answer.replace("\\text{", "\\text{not ", 1)
    return f"not {answer}" if _WORDS_ALONE.fullmatch(answer) else f"{answer} + 1"


MATHEMATICS = Mathematics()
