r"""Two expressions are the same: math-verify's reader and comparison, with exact numbers and products.

math-verify compares intervals, sets, tuples, relations and matrices part by part. Four of its parts are replaced here,
since they call wrong answers right:

- Numbers side by side are a product, ``3(4)`` is 12; it adds them. Only ``1\frac{1}{2}`` is a mixed number.
- Decimals are read as fractions and not as binary floating-point numbers.
- Two values are compared in relation to their size; it takes all below 1e-15 for zero. Values with variables are
  compared at several points, which bounds the work and needs no simplification.
- Two equations without a solution are not the same for that reason.

This module is imported only by the process of `interlat.tasks.graders.symbolic`, since sympy takes a second.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, _Latex2Sympy, normalize_latex
from math_verify import grader

_NORMALIZATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
_WHOLE = re.compile(r"\d+")
_FRACTION = re.compile(r"\\[dtc]?frac\{?\d+\}?\{?\d+\}?")
_MOST_TERMS = 1000
"""Of a sum or a product that is written out."""
_LONGEST_EXPONENT = 4
_DIGITS = 80
_MOST_DIGITS = 400
"""Looked at before a difference counts as zero."""
_SAME = sympy.Float("1e-60")
_ROUNDED = sympy.Float("1e-15")
"""How near a decimal comes to a number that it cannot hold."""
_LONG_DECIMAL = 10**12


class _Reader(_Latex2Sympy):
    """Reads LaTeX without evaluating more than it must."""

    def parse_number(self, text: str) -> Any:
        """Exactly. Raises ValueError for a number that nobody could write out."""
        digits, _, exponent = text.replace(",", "").lower().partition("e")
        if len(exponent.lstrip("+-")) > _LONGEST_EXPONENT:
            raise ValueError(f"{text} is too large to compute with")
        return sympy.Rational(digits) * sympy.Integer(10) ** int(exponent or 0)

    def convert_postfix_list(self, arr: Sequence[Any], i: int = 0) -> Any:
        """The product of what stands side by side; a whole number before a fraction of whole numbers is a sum."""
        first, following = self.convert_postfix(arr[i]), i + 1
        if following == len(arr) or not isinstance(first, sympy.Expr | sympy.MatrixBase):
            return super().convert_postfix_list(arr, i)
        if _WHOLE.fullmatch(arr[i].getText()):
            if _WHOLE.match(arr[following].getText()):
                raise ValueError("two numbers follow each other without a sign between them")
            if _FRACTION.fullmatch(arr[following].getText()):
                first, following = first + self.convert_postfix(arr[following]), following + 1
        if following == len(arr):
            return first
        rest = self.convert_postfix_list(arr, following)
        is_matrix = any(getattr(part, "is_Matrix", False) for part in (first, rest))
        return (self.mat_mul_flat if is_matrix else self.mul_flat)(first, rest)


def read(latex: str) -> Any:
    """What plain LaTeX means, or None for what cannot be read or has more parts than anyone writes out."""
    latex = normalize_latex(latex, _NORMALIZATION)
    is_real = not grader.should_treat_as_complex(latex)
    # Of a chain a = b = c the last part.
    chain = [] if "," in latex or ";" in latex else re.split(r"(?<![\\<>!])=", latex)
    for text in (latex, chain[-1] if len(chain) > 2 else latex):
        try:
            found = _Reader(is_real=is_real).parse(text)
        except Exception:  # what the parser raises for what it cannot read
            continue
        return None if _is_long(found) else found
    return None


def _is_long(expression: Any) -> bool:
    """Whether the finite sums and products in it have more terms than are written out, inside each other or not."""
    if not isinstance(expression, sympy.Basic):
        return False
    limits = [limit for part in expression.atoms(sympy.Sum, sympy.Product) for limit in part.limits]
    lengths = [limit[2] - limit[1] for limit in limits if len(limit) == 3]
    terms = [int(length) + 1 for length in lengths if length.is_number and length.is_finite and length > 0]
    return math.prod(terms) > _MOST_TERMS


def same(gold: Any, found: Any) -> bool:
    """Whether two things that `read` found are the same; the right answer goes first."""
    return bool(grader.verify(gold, found, timeout_seconds=None, allow_set_relation_comp=True))


def same_value(gold: Any, found: Any, *_: object) -> bool:
    """Whether two expressions or matrices have the same value, whatever their variables are."""
    if isinstance(gold, sympy.MatrixBase | sympy.MatrixExpr) and isinstance(found, sympy.MatrixBase | sympy.MatrixExpr):
        one, other = gold.doit(), found.doit()
        if not (isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase)):
            return bool(one == other)
        return one.shape == other.shape and all(map(same_value, one.flat(), other.flat()))
    if not (isinstance(gold, sympy.Expr) and isinstance(found, sympy.Expr)):
        return False
    percent, whole = (grader.get_pct_val(side) for side in (gold, found)), (gold, found)
    shares = [share is not None for share in percent]
    if shares[0] != shares[1] and same_value(*(grader.get_pct_val(side, side) for side in whole)):
        return True
    one, other = gold.doit(), found.doit()
    if symbols := sorted(one.free_symbols | other.free_symbols, key=str):
        same_at = _same_at_points(one, other, symbols)
        return bool(sympy.simplify(one - other).is_zero) if same_at is None else same_at
    return _same_constant(one, other)


def _same_constant(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if one.is_Rational and other.is_Rational:
        return False
    difference = (one - other).evalf(_DIGITS, maxn=_MOST_DIGITS)
    if all(part == 0 or part._prec == 1 for part in difference.as_real_imag()):
        return True
    long = [side.q for side in (one, other) if side.is_Rational and side.q > _LONG_DECIMAL]
    if any(10**_MOST_DIGITS % int(denominator) == 0 for denominator in long):
        return bool(abs(difference) <= _ROUNDED * abs(one.evalf(_DIGITS)))
    return False


def _same_at_points(one: Any, other: Any, symbols: Sequence[Any]) -> bool | None:
    """Whether two expressions agree wherever both have a value; None if they have one at fewer than two points."""
    compared = 0
    for values in _values([one, other], symbols):
        compared += 1
        # What is nothing but the rounding of a zero has no size to compare with.
        scale = max(map(abs, values)) if min(map(abs, values)) > _SAME else 1
        if abs(values[0] - values[1]) > _SAME * scale:
            return False
    return True if compared > 1 else None


def _values(expressions: Sequence[Any], symbols: Sequence[Any]) -> Iterator[list[Any]]:
    """The values of expressions at five points where no variable is a whole number; none where one has no value."""
    for number, signs in enumerate(("+", "-", "+-", "-+", "+")):
        point = {
            symbol: (sympy.sqrt(sympy.prime(5 * place + number + 1)) / 3).evalf(_DIGITS)
            * (1 if signs[place % len(signs)] == "+" else -1)
            for place, symbol in enumerate(symbols)
        }
        values = [expression.xreplace(point).evalf(_DIGITS) for expression in expressions]
        if all(value.is_number and value.is_finite for value in values):
            yield values


_solve_and_compare = grader.sympy_solve_and_compare


def _same_solutions(gold: Any, found: Any, *precision: int) -> bool:
    """As math-verify, but two relations that nothing satisfies are the same only as multiples of each other."""
    one, other = ((side.lhs - side.rhs).doit() for side in (gold, found))
    if sympy.solve(gold, gold.free_symbols):
        return bool(_solve_and_compare(gold, found, *precision))
    values = next(_values([one, other], sorted(one.free_symbols | other.free_symbols, key=str)), [1, 0])
    return values[1] != 0 and same_value(one, other * values[0] / values[1])


# `grader.verify` looks these up in its module at every comparison; it takes no argument for them.
grader.sympy_numeric_eq = same_value
grader.sympy_symbolic_eq = lambda gold, found: False
grader.sympy_solve_and_compare = _same_solutions
