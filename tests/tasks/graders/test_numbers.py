from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.tasks.graders.numbers import number_in


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.5", Fraction("1234.5")),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        ("3 1/2", Fraction(7, 2)),
        (r"1.5\times10^{-20}", Fraction(15, 10**21)),
        ("1.5e3", 1500),
        (r"0.1\overline{6}", Fraction(1, 6)),
        (r"0.\bar{3}", Fraction(1, 3)),
        (r"0.1\dot{6}", Fraction(1, 6)),
        (r"0.\dot{1}4285\dot{7}", Fraction(1, 7)),
        (r"0.666\ldots", Fraction(2, 3)),
        (r"0.1666\ldots", Fraction(1, 6)),
        (r"0.1212\ldots", Fraction(4, 33)),
        ("6 dozen", 72),
        ("1.5 million", 1_500_000),
        ("₹500", 500),
        ("she makes 18 per day", 18),
        ("Total: 18", 18),
    ],
)
def test_numbers_are_exact(text, value):
    assert number_in(text).value == value


@pytest.mark.parametrize(
    "text", ["half of 6", "2 or 3", "1 1", "5x", r"3.14\ldots", r"0.33\ldots", "1/0", "6:30", r"\frac{1}{0}", ""]
)
def test_what_is_no_single_number(text):
    assert number_in(text) is None


@given(st.integers(0, 999), st.integers(1, 999))
def test_a_repeating_decimal_is_its_fraction(numerator, denominator):
    """Against long division."""
    digits, remainders, remainder = "", [], numerator % denominator
    while remainder not in remainders:
        remainders.append(remainder)
        digits, remainder = digits + str(remainder * 10 // denominator), remainder * 10 % denominator
    begin = remainders.index(remainder)
    text = rf"{numerator // denominator}.{digits[:begin]}\overline{{{digits[begin:]}}}"
    assert number_in(text).value == Fraction(numerator, denominator)
