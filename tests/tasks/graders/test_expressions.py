"""Values are compared exactly, in relation to their size, and products stay products."""

import math
from fractions import Fraction

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from interlat.tasks.graders.expressions import read, same, same_value


def compare(gold, found):
    return same(read(gold), read(found))


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        ("10^{-20}", r"\frac{1}{10^{20}}"),
        (r"\frac{1}{20!}", r"\frac{1}{20 \cdot 19!}"),
        ("12", "3(4)"),
        ("18", r"3\binom{4}{2}"),
        ("2", "2e^{0}"),
        (r"\frac{3\pi}{2}", r"1\frac{1}{2}\pi"),
        ("-2.5", r"-2\frac{1}{2}"),
        (r"\frac{2x}{3}", r"2\frac{x}{3}"),
        ("0", r"\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt{6}}"),
        (r"\frac{\sqrt{2}}{2}", "0.7071067811865476"),
        (r"\frac{\pi^2}{6}", r"\sum_{n=1}^{\infty} \frac{1}{n^2}"),
        (r"\frac{n(n+1)}{2}", r"\sum_{k=1}^{n} k"),
        ("(x+y+z+w)^{40}", "(w+z+y+x)^{40}"),
        (r"\sin^2 x", r"1-\cos^2 x"),
        ("n!", "n(n-1)!"),
        ("f(x)+1", "1+f(x)"),
        ("x^2+1=0", "2x^2+2=0"),
        ("xy=3", r"y=\frac{3}{x}"),
        (r"\begin{pmatrix} 0.5 \\ 1 \end{pmatrix}", r"\begin{pmatrix} \frac{1}{2} \\ 1 \end{pmatrix}"),
        (r"20\%,30\%", "20,30"),
        ("(10^{-20},1)", r"(\frac{1}{10^{20}},1)"),
    ],
)
def test_the_same(gold, found):
    assert compare(gold, found)


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        ("10^{-20}", "10^{-21}"),
        (r"\frac{1}{1500!}", r"\frac{1}{1501!}"),
        (r"\frac{1}{3^{200}}", r"\frac{2}{3^{200}}"),
        ("e^{-40}", "e^{-41}"),
        ("0", "e^{-400}"),
        ("1-2^{-60}", "1-2^{-61}"),
        (r"\sqrt{10^{40}+1}", "10^{20}"),
        ("10^{-30}x", "10^{-31}x"),
        (r"\{10^{-20}\}", r"\{10^{-21}\}"),
        ("(0,10^{-20})", "(0,10^{-21})"),
        ("x=10^{-20}", "x=10^{-21}"),
        (r"\begin{pmatrix} 10^{-20} \\ 1 \end{pmatrix}", r"\begin{pmatrix} 10^{-21} \\ 1 \end{pmatrix}"),
        ("7", "3(4)"),
        ("13", "(6)(7)"),
        ("10", r"\frac{6}{2}(7)"),
        ("9", r"3\binom{4}{2}"),
        ("3", "2e^{0}"),
        ("x+2t", "x+2"),
        (r"2\pi h", r"2\pi s"),
        (r"\frac{\sqrt{2}}{2}", "0.70710678"),
        ("x", r"\sqrt{x^2}"),
        ("f(x)+1", "f(x)+2"),
        ("x^2+1=0", "x^2+2=0"),
        ("x^2+y^2=-1", "x^2+y^2=-2"),
        ("1", r"\frac{1}{0}"),
    ],
)
def test_not_the_same(gold, found):
    assert not compare(gold, found)


@pytest.mark.parametrize("latex", ["3 4", "7y-2/{", r"\sum_{k=1}^{1001} k", r"\prod_{k=1}^{40} \sum_{j=1}^{40} kj", ""])
def test_what_cannot_be_read_or_is_too_long(latex):
    assert read(latex) is None


@given(st.fractions(max_denominator=40), st.fractions(max_denominator=40))
def test_products_of_numbers_side_by_side(one, other):
    """Against Python's fractions; two positive numbers are what math-verify would add."""
    one, other = abs(one), abs(other)
    shown = [f"({number.numerator}/{number.denominator})" for number in (one, other)]
    assert Fraction(str(read("".join(shown)).doit())) == one * other


@given(st.floats(1e-200, 1e200), st.sampled_from([0.0, 1e-8, -1e-12]))
def test_values_are_compared_in_relation_to_their_size(value, difference):
    """Beside the square root of a number there is another one at any size; against plain floating-point division."""
    one, other = (sympy.sqrt(2) * sympy.Rational(size) for size in (value, value * (1 + difference)))
    expected = math.isclose(float(other / one), 1.0, rel_tol=1e-14)
    assert same_value(one, other) is expected
