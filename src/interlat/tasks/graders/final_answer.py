r"""The answer that a reply to a question of mathematics ends with."""

import re

from interlat.tasks.boxed import boxed_answer
from interlat.tasks.graders.numbers import DECIMAL
from interlat.tasks.graders.shapes import parts

_MARK = re.compile(r"(?<!#)####(?!#)")
_HEADING = re.compile(r"[ *]*(?!(?:the\s+)?(?:final\s+)?answer\b)[A-Za-z]{3,}", re.IGNORECASE)
_ANSWER_MARK = re.compile(
    # The verb may be some words behind: the answer to this question is ...
    r"\banswers?\b(?:(?:[^\S\n]+[^\s.:=]+){0,6}?[^\S\n]+(?:is|are|equals|(?:would|will|should|must|can)\s+be)\b"
    r"|\s*(?:\([^()\n]{0,40}\)\s*)?[:=]"
    # Or the word is a heading.
    r"|[^\S\n]*[*_]*[^\S\n]*\n)[\s:=*_]*",
    re.IGNORECASE,
)
_BEFORE_ANSWER = re.compile(
    r"(?:\s|\*|_(?=_)|=|:|<<[^<>\n]*>>|(?:the\s+)?(?:final\s+)?answer\b(?:\s+is\b)?|(?:also|therefore|thus|simply|just)\b,?)*",
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"\\\[(?P<brackets>.+?)\\\]|\$\$(?P<dollars>.+?)\$\$|```[a-z]*\n(?P<fenced>.+?)```"
    r"|\\begin\{(?P<environment>equation|align|gather)(?P<star>\*?)\}(?P<lines>.+?)\\end\{(?P=environment)(?P=star)\}",
    re.DOTALL,
)
_END_OF_ANSWER = re.compile(r"\.\s|\s+(?:because|since)\b|<<")
_COMMENT = re.compile(r"(?P<answer>.*?\d.*?),\s+(?!and\b|or\b)[a-z]{2,}\b")
_BOLD = re.compile(r"\*\*(?![\w(])|(?<![\w)])\*\*")
_LONGEST_FORMULA = 1000


def final_answer(reply: str) -> str | None:
    r"""The answer that a reply ends with.

    The first of these that there is: the last ``\boxed{...}``, or several with only "and" between them; what follows
    the last ``####`` that begins no heading; what follows the last "answer is", "answer to ... is" or "Answer:", up to
    the end of its sentence or line, or the formula on the lines below; the last number with the formula that it is in.

    Returns:
        The answer as it stands in the reply, or None where there is none of these.
    """
    boxed = boxed_answer(reply)
    if boxed is not None:
        return boxed
    # Words behind a ``####`` with something below them are a heading.
    lines = ((mark.end(), reply.find("\n", mark.end())) for mark in _MARK.finditer(reply))
    marks = [(0 <= below < len(reply.rstrip()) and bool(_HEADING.match(reply, end)), end) for end, below in lines]
    ends = [end for is_heading, end in marks if not is_heading][-1:]
    ends += [mark.end() for mark in list(_ANSWER_MARK.finditer(reply))[-1:]]
    for end in ends + [end for is_heading, end in marks if is_heading][-1:]:
        if answer := _answer_at(reply, end):
            return answer
    return _last_formula(reply)


def _answer_at(reply: str, begin: int) -> str:
    text = reply[begin : begin + 2 * _LONGEST_FORMULA]
    text = text[_BEFORE_ANSWER.match(text).end() :]  # type: ignore[union-attr] # it also matches nothing
    if formula := _FORMULA.match(text):
        inside = formula["brackets"] or formula["dollars"] or formula["fenced"] or formula["lines"]
        return " ".join(inside.replace("&", "").split()).rstrip(".")
    line = _END_OF_ANSWER.split(text.partition("\n")[0])[0]
    comment = _COMMENT.match(line)
    answer = comment["answer"] if comment else line
    return _BOLD.sub("", answer).lstrip(" *").rstrip(" *.,")


# Minus, en dash, times, dot, division, plus or minus, root, relations, degree, what is raised or lowered.
_SIGN = (
    r"[-+*/^_=<>|!'%"
    r"\u2212\u2013\u00d7\u00b7\u00f7\u00b1\u221a\u2248\u2264\u2265\u00b0\u2070-\u209c\u00b2\u00b3\u00b9]"
)
_PIECE = re.compile(
    r"(?P<number>(?:(?<![\w)}\]])[-+\u2212]?\\?\$)?"
    rf"(?:\d+[ ]\d+/\d+|\d{{1,2}}:\d\d(?!\d)|(?<![\d.,])\d{{1,3}}(?:[ \u00a0\u2009\u202f]\d{{3}})+(?!\d)|{DECIMAL})"
    r"(?:[eE][-+]?\d{1,3}(?!\w))?(?:\s?[AaPp](?:m\b|M\b|\.\s?[mM]\b\.?))?)"
    r"|(?P<matrix>\\begin\{(?P<environment>[a-z]*matrix)\}.*?\\end\{(?P=environment)\})"
    r"|(?P<command>\\[A-Za-z]+|\\[{}|%,;!])"
    r"|(?P<bracket>[()\[\]{}])"
    rf"|(?P<sign>{_SIGN}|(?<=\d\s)x(?=\s\d))"
    r"|(?P<letter>[A-Za-z\u03c0](?![A-Za-z]))"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<comma>,)",
    re.DOTALL,
)
_LAST_DIGIT = re.compile(r"\d(?=\D*\Z)")
_CONSTANT = re.compile(r"(?:\\pi|\\infty|\u03c0)(?![A-Za-z])")
_NOTE = re.compile(r"<<[^<>\n]*>>")
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_RELATION = re.compile(r"[=\u2248]|\\(?:approx|equiv)(?![A-Za-z])")
_LOOSE = re.compile(r"^(?:[*/^=<>_!'%\u2248,]|\\[,;!]|[-+]\s|\s)+|(?:[-+*/^=<>_,\u2248\u00d7]|\\[,;!]|\s)+$")


def _last_formula(reply: str) -> str | None:
    """The last number of a text with all of the formula around it, right of its equality sign."""
    last = _LAST_DIGIT.search(reply) or next(iter([*_CONSTANT.finditer(reply)][-1:]), None)
    if last is None:
        return None
    begin = max(0, reply.rfind("\n\n", 0, last.start()), last.start() - _LONGEST_FORMULA)
    # The notes of a calculator, as GSM8K has them, repeat what is beside them.
    reply = _NOTE.sub("", reply[begin : last.end() + _LONGEST_FORMULA])
    pieces = list(_PIECE.finditer(reply))
    numbers = [place for place, piece in enumerate(pieces) if piece["number"] or piece["matrix"]]
    constants = [place for place, piece in enumerate(pieces) if _CONSTANT.match(piece[0])]
    if not (numbers or constants):
        return None
    place = (numbers or constants)[-1]
    last = pieces[place]
    first = final = place
    while first > 0 and _connected(pieces[first - 1], pieces[first]):
        first -= 1
    while final + 1 < len(pieces) and _connected(pieces[final], pieces[final + 1]):
        final += 1
    begin, end = _balanced(reply, pieces[first].start(), pieces[final].end(), last.start(), last.end())
    if len(parts(_GROUPS.sub("", _LOOSE.sub("", reply[begin:end])), ",")) == 1:
        for relation in _RELATION.finditer(reply, begin, end):
            if relation.end() <= last.start() and _depth(reply[begin : relation.start()]) == 0:
                begin = relation.end()
            elif relation.start() >= last.end() and _depth(reply[begin : relation.start()]) == 0:
                end = relation.start()
                break
    formula = _LOOSE.sub("", reply[begin:end]).strip().rstrip(".")
    # Five! is no factorial at the end of a sentence.
    is_exclaimed = re.fullmatch(rf"{DECIMAL}!", formula) and (end == len(reply) or reply[end].isspace())
    return formula[:-1] if is_exclaimed else formula


def _connected(left: re.Match[str], right: re.Match[str]) -> bool:
    """Whether two pieces that follow each other belong to one formula."""
    if left["word"] or right["word"]:
        return False
    between = left.string[left.end() : right.start()]
    if not between:
        # A comma is a part of (3,7) and not of "3, 7".
        return True
    is_space = between.strip(" ") == ""
    return is_space and bool(left["sign"] or right["sign"] or left["command"] or right["command"])


def _balanced(text: str, begin: int, end: int, first: int, last: int) -> tuple[int, int]:
    """The part of ``text[begin:end]`` around ``text[first:last]`` in which every bracket is closed."""
    opened: list[int] = []
    for place in range(begin, end):
        if text[place] in "([{":
            opened.append(place)
        elif text[place] in ")]}":
            if opened:
                opened.pop()
            elif place < first:
                begin = place + 1
            else:
                end = place
                break
    for place in opened:
        if place < first:
            begin = max(begin, place + 1)
        elif place >= last:
            end = min(end, place)
    return begin, end


def _depth(text: str) -> int:
    return sum((character in "([{") - (character in ")]}") for character in text)
