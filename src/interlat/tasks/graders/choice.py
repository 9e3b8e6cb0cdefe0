r"""Whether a reply names the right one of some options, in any of the usual spellings.

``C``, ``(c)``, ``C)``, ``C. aspirin``, ``\text{(C)}``, ``**C**``, ``"C"``, ``option C``, the whole text of an option,
and a number that equals it. Two labels, or a label that is denied, are no answer. Options may be labelled with letters
or with digits.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task, lettered
from interlat.tasks.boxed import boxed_answer, last_boxed
from interlat.tasks.graders.verdict import Grader, Verdict, text_in
from interlat.tasks.sandbox.execution import Limits

_IS = r"(?:is|would\s+be|must\s+be|should\s+be|will\s+be|has\s+to\s+be)\b"
_HEDGE = (
    r"(?:(?:most|very|almost|quite)\s+)?(?:likely|probably|certainly|clearly|definitely|obviously|surely|simply|indeed"
    r"|actually|therefore|thus|hence|then)\b,?\s*"
)
# Words between "answer" and "is" with which the sentence states no answer.
_UNSAID = (
    r"(?:if|whether|unless|when|what|which|who|how|why|because|depends?|not|that|than|or|and|but|is|are|cannot|choices"
    r"|options)\b"
)
_MARK = re.compile(
    rf"""
      \#{{4,}}
    | \b(?:answer|ans)\b(?:[^\S\n]+(?!{_UNSAID})[\w'\u2019"()*-]+){{0,8}}?[^\S\n]+{_IS}
    | \b(?:answer|ans)\b(?:[^\S\n]+(?:(?:to|for|of)\b[^\n:.]{{0,60}}|choice|option|letter|key))?["'*_)\]\s.]*[:=]
    | \b(?:option|choice|letter)(?:\s+{_IS}|\s*:)
    | \bI(?:\s+would|'d)?\s+(?:choose|pick|select|go\s+with)
    | ^[#*_ \t]*(?:(?:the|my|final|correct)[ ]+)*answer[*_ \t]*$
    # Chinese: the answer (is), the right option (is), (so we) choose
    | (?:\u7b54\u6848|\u6b63\u786e\u9009\u9879)\s*(?:\u5e94?[\u662f\u4e3a]|\u70ba)?
    | (?<![\u4e0d\u6ca1\u672a])\u9009\u62e9?
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_BEHIND_MARK = re.compile(r"[\s:=*,]*")
_ASSUMED = re.compile(
    r"\b(?:if|whether|unless|suppose|assume|assuming|say)\s+(?:that\s+)?(?:(?:the|my|your|correct|right|final|best)\s+)*\Z",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"\\(?:text)?color(?:box)?\s*(?:\[[^\]]*\])?\{[^{}]*\}"
    r"|\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|sf|it|tt|bb|cal)|boldsymbol|mbox|boxed|fbox|underline"
    r"|displaystyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|rm|sf|it)(?![A-Za-z])"
    r"|\\[()\[\],;:! ]|\\?[*_$`{}]|</?(?:b|i|u|em|strong)>|[\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]"
)
_FULL_WIDTH = str.maketrans("\uff08\uff09\uff1a\uff0c\uff0e\u3002\u3010\u3011\uff1b", "():,..[];")
_BULLET = re.compile(r"\A(?:[#>\u2022-]+\s+)+")
_LEAD = re.compile(
    rf"(?:(?:the|correct|right|best|final|option|choice|answer|letter)\b\s*:?\s*|(?:option|choice)(?=\d)|{_HEDGE})*",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:the|an?)\s+")
# "A" and "I" begin sentences, "2" and "c" stand in them; one of these words behind them says that they are labels.
_REASON = re.compile(r"\s+(?:because|since|as|for|due|given|in\s+this)\b", re.IGNORECASE)
_IS_OR_WAS = re.compile(r"\s+(?:is|was)\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\W*\s(?:(?:is|was|can|could)\s*(?:not|n't)\b|(?:isn|wasn|can|couldn)['\u2019]t\b"
    r"|(?:is|was|are|would\s+be|seems)\s+(?:\w+\s+)?(?:wrong|incorrect|false|out|unlikely|less)\b)",
    re.IGNORECASE,
)
_OTHER = r"(?:unlike|than|not|instead\s+of|except|versus|neither|nor)"
_BEFORE_LABEL = (
    rf"(?:{_OTHER}|and|or|so|therefore|thus|hence|because|since|that|is|while|but|whereas|both|either|only|of|to|with"
    r"|option|choice|answer)"
)
_UNSURE = re.compile(
    r"\b(?:if|whether|unless|not|neither|either|nor|suppose|assum\w+|might|may|could|perhaps|maybe)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_END_OF_TEXT = re.compile(r"['\u2019]?\s*(?:[.;:!)\u2013\u2014]|-\s|,\s|$|(?:because|since|as|due|given)\b)")
_QUANTITY = re.compile(
    r"(?P<sign>[-+\u2212\u2013]?)\s*(?:\\[dtc]?frac\s*(?:(?P<first>\d)(?P<second>\d)(?!\d)|(?P<top>\d+)\s+(?P<bottom>\d+))"
    r"|(?P<over>\d+)\s*/\s*(?P<under>\d+)"
    r"|(?P<decimal>(?:\d{1,3}(?:,\d{3})+|\d{1,100})(?:\.\d{0,100})?|\.\d{1,100}))(?P<unit>\D.*)?"
)
_LONGEST_STATEMENT = 500
"""Characters of an answer behind its mark, beside those of an option."""
_MOST_MARKS = 200
"""A text with more marks repeats itself."""
_SEVERAL = "\n"
"""In the place of a label: more than one."""


def grade_choice(reply: str, answer: str, options: Mapping[str, str]) -> Verdict:
    """Judge the option that ``reply`` ends with; ``answer`` is the label of the right one.

    Raises:
        InputError: the right answer is none of the options.
    """
    if answer not in options:
        raise InputError(f"the right answer {answer!r} is none of the options {', '.join(options)}; correct the task")
    label = chosen_option(reply, options)
    if label is None:
        return Verdict(False, "unparsed")
    # Some data sets have two options with the same text: either is right.
    return Verdict(label == answer or "" != options[label].strip() == options[answer].strip(), "exact")


def chosen_option(reply: str, options: Mapping[str, str]) -> str | None:
    r"""The label of the option that a reply ends with, or None.

    The label in the last ``\boxed{...}``. Where the box holds something else: what is stated behind it, then the option
    whose text or number the box holds. Where there is no box: what follows the last ``####``, "answer is", "option:" or
    the like that an option follows; then the last line, or the first one if it is a label and nothing else; then the
    one option that sentences such as "so it is B" or "B is correct" agree on.
    """
    reply = reply.translate(_FULL_WIDTH)
    boxed = last_boxed(reply)
    if boxed is None:
        found = _said(reply, options)
    else:
        # Boxes that belong together hold two answers, and so none.
        found = _option_of(boxed_answer(reply) or boxed, options)
        begins = [command.end() for command in re.finditer(r"\\(?:boxed|fbox)[\s{]*", reply)]
        behind = next((reply[one + len(boxed) :] for one in begins[::-1] if reply.startswith(boxed, one)), "")
        led = _without_lead(_plain(boxed))
        if not found:
            found = _said(behind, options)
        elif not (_alone(led, options) or _leading(led, options)):
            found = _stated(behind, options) or found
    return found if found in options else None


def _said(text: str, options: Mapping[str, str]) -> str | None:
    """The option that a text without a box ends with."""
    stated = _stated(text, options)
    lines = [line for line in text.splitlines() if line.strip()]
    if stated or not lines:
        return stated
    told = [_leading(_plain(line), options, True) or "" for line in lines[-2:]]
    is_list = told in map(list, pairwise(options))
    end = None if is_list else _last_line(lines[-1], options) or _agreed(text, options)
    alone = {label for line in lines if (label := _alone(_plain(line), options))}
    first = _alone(_plain(lines[0]), options)
    if first and len(alone) == 1:
        return first if end in (first, None) else None
    return end


def _stated(text: str, options: Mapping[str, str]) -> str | None:
    """The option behind the last mark that one follows."""
    marks = list(_MARK.finditer(text))[-_MOST_MARKS:]
    headings = sum(mark[0].startswith("####") for mark in marks)
    longest = max(map(len, options.values()), default=0) + _LONGEST_STATEMENT
    for mark in reversed(marks):
        start = _BEHIND_MARK.match(text, mark.end()).end()  # type: ignore[union-attr] # it also matches nothing
        behind = text[start : start + longest]
        # Of several headings only the one that ends the text is an answer.
        is_heading = headings > 1 and mark[0].startswith("####") and "\n" in behind.strip()
        if is_heading or _ASSUMED.search(text[max(0, mark.start() - 80) : mark.start()]):
            continue
        # The first line that holds more than the begin of a formula, of a block or of a list.
        lines = (line for line in behind.split("\n") if not line.lstrip().startswith("```"))
        if found := _option_of(next((line for line in lines if _plain(line).strip(" -.")), ""), options):
            return found
    return None


def _last_line(line: str, options: Mapping[str, str]) -> str | None:
    plain = _plain(line)
    led = _without_lead(plain)
    texts = (_alone(one, options) or _with_text(one, options) for one in (plain, led))
    return next(filter(None, texts), None) or _leading(led, options, True) or _named_in(plain, options)


def _option_of(text: str, options: Mapping[str, str]) -> str | None:
    """The option that a text is, or begins with; `_SEVERAL` where it begins with more than one."""
    plain = _plain(text)
    led = _without_lead(plain)
    judged = (judge(one, options) for judge in (_alone, _with_text, _with_number, _begun) for one in (plain, led))
    return next(filter(None, judged), None) or _leading(led, options)


def _plain(text: str) -> str:
    """A text without markup."""
    return _BULLET.sub("", " ".join(_MARKUP.sub(" ", text).split()), count=1)


def _without_lead(plain: str) -> str:
    return plain[_LEAD.match(plain).end() :]  # type: ignore[union-attr] # it also matches nothing


def _bare(text: str) -> str:
    return _plain(text).strip(" .'\u2018\u2019")


def _tight(text: str) -> str:
    return "".join(_bare(text).casefold().split())


_KEYS: tuple[Callable[[str], str], ...] = (
    _bare,
    lambda text: _bare(text).casefold(),
    _tight,
    lambda text: _ARTICLE.sub("", _bare(text).casefold(), count=1),
)
"""What two texts have in common that are the same, from strict to lax."""


def _only(labels: Iterable[str]) -> str | None:
    found = list(labels)
    return found[0] if len(found) == 1 else None


def _alone(plain: str, options: Mapping[str, str]) -> str | None:
    """The option whose label a text is."""
    bare = plain.strip("()[]:.,;'\u2018\u2019 ").casefold()
    return _only(label for label in options if label.casefold() == bare)


def _with_text(plain: str, options: Mapping[str, str]) -> str | None:
    """The option whose text a text is."""
    for key in _KEYS:
        wanted = key(plain)
        found = [label for label, option in options.items() if wanted and key(option) == wanted]
        if len({options[label].strip() for label in found}) == 1:
            return found[0]
    return None


def _with_number(plain: str, options: Mapping[str, str]) -> str | None:
    """The option that is an equal number, of the same unit."""
    wanted = _quantity(plain)
    return _only(label for label, option in options.items() if wanted and _quantity(option) == wanted)


def _quantity(text: str) -> tuple[Fraction, str] | None:
    """A number with what stands behind it."""
    match = _QUANTITY.fullmatch(_bare(text))
    if match is None:
        return None
    top = match["first"] or match["top"] or match["over"] or match["decimal"].replace(",", "")
    bottom = Fraction(match["second"] or match["bottom"] or match["under"] or 1)
    sign = -1 if match["sign"] not in ("", "+") else 1
    return (sign * Fraction(top) / bottom, _tight(match["unit"] or "")) if bottom else None


def _begun(plain: str, options: Mapping[str, str]) -> str | None:
    """The option whose text a text begins with, where a sentence or a clause ends behind it."""
    folded = plain.casefold()
    texts = {label: _bare(option).casefold() for label, option in options.items()}
    fitting = {
        label: len(text)
        for label, text in texts.items()
        if len(text) > 1 and folded.startswith(text) and _END_OF_TEXT.match(folded, len(text))
    }
    longest = max(fitting.values(), default=0)
    label = _only(one for one, length in fitting.items() if length == longest)
    if label is None:
        return None
    others = [text for text in texts.values() if len(text) > 1 and text not in texts[label]]
    spoken_of = re.compile(rf"(?P<other>\b{_OTHER}\s+)?(?<!\w)(?:{'|'.join(map(re.escape, others))})(?!\w)")
    mixed = others and any(not match["other"] for match in spoken_of.finditer(folded, longest))
    return _SEVERAL if mixed else label


def _leading(plain: str, options: Mapping[str, str], strict: bool = False) -> str | None:
    """The option whose label a text begins with; ``strict`` asks for a mark or a reason behind it, since any sentence
    may begin with a letter."""
    labels = _labels(options)
    # Behind a label may be a Chinese word, which no space sets off.
    match = re.match(
        rf"(?P<open>[(\[]\s*)?'?(?P<label>{labels})'?(?(open)\s*[)\]]|(?![^\W\u3040-\u9fff]|['\u2019-]\w))",
        plain,
        re.IGNORECASE,
    )
    if match is None:
        return None
    label, rest = match["label"], plain[match.end() :]
    another = re.match(
        rf"\W*?(?:,|;|/|&|\+|\b(?:or|and|nor|to)\b)\s*(?:option\s+|choice\s+)?[(\[]?(?:{labels})(?!\w)",
        rest,
        re.IGNORECASE,
    )
    if another:
        return _SEVERAL
    if _DENIED.match(rest) or rest.lstrip().startswith("?"):
        return None
    known = _known(label, options)
    is_marked = match["open"] or not rest or re.match(r"\s*[).:,;!(\-\u2013\u2014](?!\w)|\s*\(", rest)
    is_whole = bool(_tight(rest)) and _tight(rest) == _tight(options[known])
    is_meant = (label.isupper() and label not in ("A", "I")) or _IS_OR_WAS.match(rest)
    return known if is_marked or is_whole or _REASON.match(rest) or (is_meant and not strict) else None


def _named_in(line: str, options: Mapping[str, str]) -> str | None:
    """The one option that a line names as "option C" or "(C)"."""
    labels = _labels(options)
    named = list(
        re.finditer(
            rf"(?P<other>\b{_OTHER}\s+)?"
            rf"(?:\b(?:option|choice)\s+[(\[]?|\banswer\s+(?=(?:{labels})\s*(?:[.,;:!]|is\b|$))|[(\[])(?P<label>{labels})(?!\w)",
            line,
            re.IGNORECASE,
        )
    )
    denied = any(match["other"] or _DENIED.match(line[match.end() :].lstrip(")]")) for match in named)
    if not named or denied or line.endswith("?"):
        return None
    return _only({_known(match["label"], options) for match in named} | _mentioned(line, options))


def _agreed(text: str, options: Mapping[str, str]) -> str | None:
    """The one option of all sentences that conclude with a label, such as "so it is B" and "B is correct"."""
    end, begin = (
        rf"(?:option\s+|choice\s+)?[('\u2018\[]{{0,3}}(?P<{name}>(?-i:{_labels(options)}))(?!\w)['\u2019)\]]*"
        for name in ("end", "begin")
    )
    concluded = re.compile(
        rf"(?:\b(?:it|this)(?:\s+{_IS}|['\u2019]s\b)|\b(?:so|therefore|thus|hence)\b,?"
        rf"|\b(?:choose|pick|select|go\s+with)\b)\s*(?:{_HEDGE})*{end}"
        r"(?=\s*(?:[.,;!]|$|(?:because|since)\b))"
        rf"|(?:^|[.,;:!(]\s*|\b{_BEFORE_LABEL}\s+){begin}\s+(?:{_IS}|seems|appears)\s+(?:{_HEDGE})*"
        r"(?:the\s+)?(?:(?:only|best|most)\s+)?(?:correct|right|best|answer|likely|appropriate|suitable|accurate)\b",
        re.IGNORECASE,
    )
    found: set[str] = set()
    for sentence in re.split(r"(?<=[.!?])\s+|\n", text):
        plain = _plain(sentence)
        here = {match["end"] or match["begin"] for match in concluded.finditer(plain)}
        if here and not plain.endswith("?") and not _UNSURE.search(plain):
            found |= here | _mentioned(plain, options)
    return _only(found)


def _mentioned(sentence: str, options: Mapping[str, str]) -> set[str]:
    """The labels in capitals that a sentence speaks of and does not deny: not the D of vitamin D."""
    nouns = re.finditer(
        rf"(?:^|[.,;:!?(\[]\s*|\b(?i:{_BEFORE_LABEL})\s+)['\u2018]?(?P<label>{_labels(options)})"
        r"(?=['\u2019]?\s*(?:[.,;:!?)\]]|$|\s(?:is|are|was|does|has|fits|and|or)\b))",
        sentence,
    )
    spoken_of = {match["label"] for match in nouns if not _DENIED.match(sentence[match.end() :])}
    return {label for label in spoken_of if label.isupper() and label != "I"}


def _labels(options: Mapping[str, str]) -> str:
    return "|".join(sorted(map(re.escape, options), key=len, reverse=True))


def _known(label: str, options: Mapping[str, str]) -> str:
    """A label as the task spells it."""
    return next(known for known in options if known.casefold() == label.casefold())


class Choice(Grader):
    """Compares the label that a reply ends with, see `grade_choice`."""

    answer_format = "End with the label of the right option, and nothing else, in \\boxed{}."
    has_options = True

    def grade(self, reply: str, task: Task, limits: Limits | None = None) -> Verdict:
        return grade_choice(reply, task.answer, task.options)

    def extracted(self, reply: str, task: Task) -> str | None:
        return chosen_option(reply, task.options)

    def corruptions(self, task: Task) -> Iterable[str]:
        """The next option with another text than the right one."""
        labels, right = list(task.options), task.options[task.answer].strip()
        place = labels.index(task.answer) + 1
        wrong = [label for label in labels[place:] + labels[: place - 1] if task.options[label].strip() != right]
        yield f"\\boxed{{{next(iter(wrong or labels[place:] + labels))}}}"

    def task_of(self, line: Mapping[str, Any], kind: str, identifier: str) -> Task:
        options = line.get("options")
        if isinstance(options, list):
            options = lettered(options)
        if not isinstance(options, dict) or not options or not all(isinstance(text, str) for text in options.values()):
            raise InputError(f"options is {options!r}, expected an object of label and text, or a list of texts")
        return Task(identifier, "", text_in(line, "gold"), options=options, grader=kind)


CHOICE = Choice()
