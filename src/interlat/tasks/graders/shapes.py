r"""What kind of thing an answer is (list, tuple, interval, set, inequality, equation), in one form to compare.

Texts are in one spelling, see `interlat.tasks.graders.notation`.
"""

import re

from interlat.tasks.graders.notation import closing

_MEMBER = re.compile(r"\\?[A-Za-z]+\s*\\in(?![A-Za-z])\s*")
_SET_BUILDER = re.compile(
    r"\\\{\s*(?P<variable>[A-Za-z])\s*(?:\\in\s*\\mathbb\s*\{?R\}?)?\s*(?::|\||\\mid(?![A-Za-z]))\s*(?P<condition>.+)\\\}"
)
_REALS = re.compile(
    r"\\mathbb\s*\{?R\}?|\\R|(?:the\s)?(?:set\sof\s)?(?:all\s)?(?:the\s)?(?:real\snumbers|reals)", re.IGNORECASE
)
_EMPTY = re.compile(r"(?:the\s)?empty\sset", re.IGNORECASE)
_RELATION = re.compile(r"\s*(<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z]))\s*")
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_ALTERNATIVES = re.compile(r"\s*,?\s*(?<![A-Za-z\\])or(?![A-Za-z])\s*")
_CONJUNCTION = re.compile(r"\s*,?\s*(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])\s*")
_SIGN_IN_FRONT = re.compile(r"(?:(?<=^)|(?<=[={(]))\+")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z])=(?P<value>[^=]+)")
_EQUALS = re.compile(r"(?<![<>!\\])=")
_NAME = re.compile(r"(?:\\(?!frac|sqrt|sum|prod|int|lim|begin)[A-Za-z]+|[A-Za-z]|_|'|\||\s)+")
_FUNCTION = re.compile(r"[A-Za-z]\([A-Za-z]\)")


def in_one_form(text: str) -> str:
    r"""An answer as what it stands for.

    ``x\in[1,2]`` is ``[1,2]``; ``\{x:x<2\}`` is ``x<2``; ``3>x>1`` is ``1<x<3``; ``x<1 or x>4`` is the union of two
    intervals; ``1\pm\sqrt{2}`` are two values; all real numbers are an interval; "and" is a comma.
    """
    text = _MEMBER.sub("", text, count=1) if _MEMBER.match(text) else text
    if builder := _SET_BUILDER.fullmatch(text):
        text = builder["condition"]
    if _REALS.fullmatch(text):
        return r"(-\infty,\infty)"
    if _EMPTY.fullmatch(text):
        return r"\emptyset"
    # Inequalities of one variable, at least two, are a union of intervals.
    intervals = [_interval(one) for one in _ALTERNATIVES.split(text)]
    is_union = len(intervals) > 1 and None not in intervals and len({one[0] for one in intervals if one}) == 1
    text = r"\cup".join(one[1] for one in intervals if one) if is_union else _upwards(text)
    return _both_signs(_CONJUNCTION.sub(",", text))


def comparable(found: str, gold: str) -> tuple[str, str] | None:
    """Two answers in one form, made comparable where one has names that the other leaves out.

    Returns:
        The two, or None where they are different things: a set and a tuple or interval, a list and a pair.
    """
    found, gold = _without_names(found, gold)
    if _is_tuple(gold):
        found = _tuple_of_assignments(found) or found
    elif _is_tuple(found):
        gold = _tuple_of_assignments(gold) or gold
    shapes = {shape(found), shape(gold)}
    if shapes == {"brackets", "braces"}:
        # math-verify takes (1,3), which has an order or is an interval, for the set {1,3}.
        return None
    if shapes == {"brackets", "list"}:
        sides = [side if shape(side) == "brackets" else f"({side})" for side in (found, gold)]
        # Two numbers in brackets may be an interval, more cannot.
        if not all(_is_tuple(side) and len(parts(side[1:-1], ",")) > 2 for side in sides):
            return None
        found, gold = sides
    return found, gold


def shape(text: str) -> str:
    """What an answer is by its brackets and commas: braces, brackets, list, or other."""
    if text.startswith(r"\{"):
        return "braces"
    end = closing(text) if text.startswith(("(", "[")) else -1
    if end == len(text) - 1 and "," in text:
        return "brackets"
    return "list" if len(parts(text, ",")) > 1 else "other"


def parts(text: str, separator: str) -> list[str]:
    """``text`` cut at a character wherever no bracket is open."""
    found, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            found.append(text[begin:place])
            begin = place + 1
    return [*found, text[begin:]]


def _is_tuple(text: str) -> bool:
    return shape(text) == "brackets" and text.startswith("(") and text.endswith(")")


def _interval(inequality: str) -> tuple[str, str] | None:
    """The variable of an inequality, and the interval in which it is."""
    pieces = _RELATION.split(_upwards(inequality))
    if len(pieces) == 3 and not re.fullmatch("[A-Za-z]", pieces[0]):
        pieces = [pieces[2], _TURNED[pieces[1]], pieces[0]]
    if len(pieces) == 3 and re.fullmatch("[A-Za-z]", pieces[0]):
        variable, relation, limit = pieces
        close = "]" if "e" in relation else ")"
        is_above = relation in (">", r"\ge")
        return variable, f"{'[' if close == ']' else '('}{limit},\\infty)" if is_above else f"(-\\infty,{limit}{close}"
    if len(pieces) == 5 and re.fullmatch("[A-Za-z]", pieces[2]) and {pieces[1], pieces[3]} <= {"<", r"\le"}:
        low, first, variable, second, high = pieces
        return variable, f"{'[' if 'e' in first else '('}{low},{high}{']' if 'e' in second else ')'}"
    return None


def _upwards(text: str) -> str:
    """A chain of inequalities with the smallest first."""
    pieces = _RELATION.split(text)
    if len(pieces) < 5 or not set(pieces[1::2]) <= {">", r"\ge"} or "," in text:
        return text
    turned = [_TURNED[piece] if place % 2 else piece for place, piece in enumerate(pieces)]
    return "".join(f"{piece} " if piece == r"\le" else piece for piece in reversed(turned))


def _both_signs(text: str) -> str:
    r"""Each element with one ``\pm`` as two, so that it is a list like any other."""
    if r"\pm" not in text or r"\mp" in text:
        return text
    is_set = text.startswith(r"\{") and text.endswith(r"\}")
    elements = []
    for element in parts(text[2:-2] if is_set else text, ","):
        signs = "+-" if element.count(r"\pm") == 1 else ""
        elements += [_SIGN_IN_FRONT.sub("", element.replace(r"\pm", sign)) for sign in signs] or [element]
    together = ",".join(elements)
    return rf"\{{{together}\}}" if is_set else together


def _without_names(found: str, gold: str) -> tuple[str, str]:
    """Two answers without ``name =`` in front, where only one has it, or where one says y and the other f(x)."""
    (found_name, found_value), (gold_name, gold_value) = _named(found), _named(gold)
    names = (found_name, gold_name)
    # An equation without a name, such as 2x + z = 1, gives no value.
    is_left_out = "" in names and any(not _EQUALS.search(text) for text in (found, gold))
    if is_left_out or ("y" in names and any(_FUNCTION.fullmatch(name) for name in names)):
        return found_value, gold_value
    return found, gold


def _named(text: str) -> tuple[str, str]:
    """The name of what an equation gives the value of, empty if there is none, and the value."""
    if len(parts(text, ",")) > 1:
        return "", text
    left, *rest = parts(text, "=")
    bare = re.sub(r"_?[({].*[)}]", "", left)
    is_name = len(rest) == 1 and left[-1:] not in "<>!\\" and _NAME.fullmatch(bare)
    return (left.strip(), rest[0].strip()) if is_name else ("", text)


def _tuple_of_assignments(text: str) -> str | None:
    """``x=7,y=2`` as the tuple (7,2), in the order of the names."""
    found = [_ASSIGNMENT.fullmatch(part.strip()) for part in parts(text, ",")]
    values = {match["name"]: match["value"] for match in found if match}
    if len(found) < 2 or len(values) < len(found):
        return None
    return f"({','.join(values[name] for name in sorted(values))})"
