"""Right answers are right however they are written; near misses are wrong."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.errors import InputError
from interlat.tasks.graders import mathematics
from interlat.tasks.graders.expressions import read
from interlat.tasks.graders.mathematics import LONGEST_ANSWER
from interlat.tasks.graders.mathematics import grade_mathematics as grade
from interlat.tasks.graders.verdict import Verdict

EQUAL = [
    # right answer, what is in the reply's box, who decides
    ("18", "18", "exact"),
    ("18", r"\$18", "exact"),
    ("18", "{18}", "exact"),
    ("18", r"18\text{ dollars}", "exact"),
    ("18", "18 eggs", "exact"),
    ("30", r"30 \text{ cm}^2", "exact"),
    (r"135\text{ square feet}", "135", "exact"),
    ("90", r"90^\circ", "exact"),
    (r"180^{\circ}", "180 degrees", "exact"),
    (r"\frac{1}{2}", r"\dfrac{1}{2}", "exact"),
    (r"\left( -\frac{8}{3}, 4 \right)", r"(-\tfrac{8}{3},4)", "exact"),
    (r"\boxed{2}", "2", "exact"),
    ("-5", "\u22125", "exact"),
    ("7.", "7", "exact"),
    (r"\text{(D)}", "D", "exact"),
    ("D", r"\textbf{(D)}", "exact"),
    (r"\text{Evelyn}", "evelyn", "exact"),
    (r"\text{1:03 PM}", "1:03 pm", "exact"),
    ("4210_{5}", "4210_5", "exact"),
    ("4210_{5}", "4210", "exact"),
    (r"4\sqrt{2}", r"4\sqrt{2} \text{ inches}", "exact"),
    ("18", "18.00", "numeric"),
    ("1234", "1,234", "numeric"),
    (r"11,\! 111,\! 111,\! 100", "11111111100", "numeric"),
    ("90{,}900{,}909", r"90\,900\,909", "numeric"),
    (r"\$115,000", "115000", "numeric"),
    ("70000", r"\$70,000.00", "numeric"),
    (r"\frac{1}{2}", "0.5", "numeric"),
    (r"\frac12", ".5", "numeric"),
    (r"-\frac{5}{3}", r"\frac{-5}{3}", "numeric"),
    (r"\frac{3}{4}", "6/8", "numeric"),
    (r"137 \frac{1}{2}", "137.5", "numeric"),
    ("-3.5", "-3 1/2", "numeric"),
    (r"0.1\overline{6}", "1/6", "numeric"),
    (r"20\%", "20", "numeric"),
    (r"20\%", "0.2", "numeric"),
    ("0.75", r"75\%", "numeric"),
    (r"20\%", "20 percent", "exact"),
    ("18", "she makes $18 per day", "numeric"),
    ("1500", "1.5e3", "numeric"),
    ("1500", r"1.5 \times 10^{3}", "numeric"),
    ("0.002", r"2\cdot 10^{-3}", "numeric"),
    (r"3\times 10^8", "300000000", "numeric"),
    ("6.02e23", "6.02 \u00d7 10^{23}", "numeric"),
    ("300000000", "3 x 10^8", "numeric"),
    ("3.5", "3\u00bd", "numeric"),
    ("2.5", r"2\frac{1}{2}", "numeric"),
    (r"33\frac{1}{3}\%", "1/3", "numeric"),
    ("7", "007", "numeric"),
    ("2", "+2", "numeric"),
    ("50", "50 km/h", "exact"),
    ("5", "5 \u20ac", "numeric"),
    (r"x^{2}", "x\u00b2", "exact"),
    ("0.001", "10^{-3}", "symbolic"),
    ("x=5", "5", "symbolic"),
    ("5", "x = 5", "symbolic"),
    ("1024", "2^{10}", "symbolic"),
    ("3628800", "10!", "symbolic"),
    ("120", r"\binom{10}{3}", "symbolic"),
    (r"\frac{\sqrt{3}}{2}", r"\sqrt{\frac{3}{4}}", "symbolic"),
    ("(x+1)^2", "x^2 + 2x + 1", "symbolic"),
    (r"\frac{1}{1+\frac{1}{x}}", r"\frac{x}{x+1}", "symbolic"),
    (r"(-\infty,-2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,-2)", "symbolic"),
    (r"(-\infty, 2]", r"x \le 2", "symbolic"),
    (r"\{1,2,3\}", r"\{3,1,2\}", "symbolic"),
    (r"\{1,3\}", "3, 1", "symbolic"),
    ("1,-3", "-3 and 1", "symbolic"),
    (r"5x - 7y + 4 = 0", "7y - 5x = 4", "symbolic"),
    (r"\begin{pmatrix} 23/8 \\ 7/4 \end{pmatrix}", r"\begin{pmatrix}\frac{23}{8}\\1.75\end{pmatrix}", "symbolic"),
    ("-15 + 8i", "8i-15", "symbolic"),
    (r"2 \tan x", r"2\tan(x)", "symbolic"),
    ("e^{x^2}", "e^{x^{2}}", "symbolic"),
]

NEAR_MISSES = [
    ("18", "19", "numeric"),
    ("18", "-18", "numeric"),
    ("18", "180", "numeric"),
    ("18", "1.8", "numeric"),
    ("1234", "1.234", "numeric"),
    (r"\frac{1}{3}", "0.33", "numeric"),
    (r"\frac{1}{3}", "0.333333333", "numeric"),
    (r"0.\overline{3}", "0", "numeric"),
    (r"\frac{3}{4}", r"\frac{4}{3}", "numeric"),
    (r"137 \frac{1}{2}", "1371/2", "numeric"),
    ("20", "0.2", "numeric"),
    (r"0.5\%", "50", "numeric"),
    ("50", r"0.5\%", "numeric"),
    ("5", "5 million", "numeric"),
    ("3", "3 and a half", "symbolic"),
    ("18", "18 or 20", "symbolic"),
    ("3", "x=3 or x=4", "symbolic"),
    ("11", "1 1", "unparsed"),
    ("5", "5x", "symbolic"),
    ("5", "5i", "symbolic"),
    ("2", r"2\pi", "symbolic"),
    ("2", "2 pi", "symbolic"),
    (r"\pi", "3.14159265", "symbolic"),
    (r"\sqrt{2}", "1.414", "symbolic"),
    ("4210_5", "4210_6", "exact"),
    ("144", "144_{62}", "exact"),
    (r"\text{Evelyn}", r"\text{Lyneve}", "exact"),
    (r"\text{Sunday}", "Monday", "exact"),
    (r"\text{1:03 PM}", "1:03 AM", "exact"),
    (r"\text{(D)}", "B", "exact"),
    ("(1,2)", "(2,1)", "symbolic"),
    ("(1,3)", "1,3", "symbolic"),
    (r"\{1,3\}", "(1,3)", "symbolic"),
    ("(2,5]", "(2,5)", "symbolic"),
    ("(2,5)", "[2,5]", "symbolic"),
    (r"(-\infty, 2]", "x < 2", "symbolic"),
    ("1,-3", "1", "symbolic"),
    (r"\pm 2", "2", "symbolic"),
    ("x=5", "y=5", "symbolic"),
    ("x^2+1", "x^2-1", "symbolic"),
    ("5x - 7y + 4 = 0", "5x - 7y = 4", "symbolic"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", "symbolic"),
    ("-15 + 8i", "-15 - 8i", "symbolic"),
    (r"\sin x", r"\cos x", "symbolic"),
    ("2x+z=1", "1", "symbolic"),
    ("1", r"\frac{1}{0}", "symbolic"),
    ("7", "7y-2/{37", "unparsed"),
    ("1500", "1.5e2", "numeric"),
    ("1500", r"1.5 \times 10^4", "numeric"),
    ("1500", r"1.5 \times 10^{-3}", "numeric"),
    ("1.5", "1.5e3", "numeric"),
    ("3.5", "3 1/3", "numeric"),
    ("3.5", "31/2", "numeric"),
    ("3.5", "3\u00bc", "numeric"),
    ("1000", "1,00", "symbolic"),
    ("1450000", "1", "numeric"),
    ("2125", "2", "numeric"),
    ("0.05", "0.5", "numeric"),
    ("-0.5", "1/2", "numeric"),
    ("25", "025.1", "numeric"),
    ("x^2", "x\u00b3", "symbolic"),
    (r"\frac{5}{6}", "56", "numeric"),
    ("10", "10^3", "symbolic"),
    ("60", "1 hour", "numeric"),
]


@pytest.mark.parametrize(("answer", "boxed", "how"), EQUAL)
def test_equal_answers_are_right(answer: str, boxed: str, how: str) -> None:
    assert grade(f"Therefore $\\boxed{{{boxed}}}$.", answer) == Verdict(True, how)


@pytest.mark.parametrize(("answer", "boxed", "how"), NEAR_MISSES)
def test_near_misses_are_wrong(answer: str, boxed: str, how: str) -> None:
    assert grade(f"#### {boxed}", answer) == Verdict(False, how)


def test_the_cases_beside_this_file() -> None:
    """Every kind of fault that the grader once had, with near misses; a line is as `interlat tasks grade` takes it."""
    lines = (Path(__file__).parent / "mathematics_cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    assert len(cases) > 350
    assert [case for case in cases if grade(case["answer"], case["gold"]).correct is not case["expected"]] == []


def test_zeros_in_front_change_no_number() -> None:
    """D7 of the released LatentMAS: AIME's answers have three digits."""
    assert grade("so it is \\boxed{25}", "025").correct and grade("\\boxed{025}", "25").correct


def test_no_answer_is_unparsed_and_wrong() -> None:
    assert grade("I do not know.", "18") == Verdict(False, "unparsed")
    assert grade(r"\boxed{" + "1" * (LONGEST_ANSWER + 1) + "}", "18") == Verdict(False, "unparsed")


def test_a_task_without_an_answer_cannot_be_graded() -> None:
    with pytest.raises(InputError, match="there is no right answer to grade against"):
        grade("18", " ")


@pytest.mark.parametrize(
    "boxed",
    [
        "9^9^9^9",
        "9^{9^{9^{9}}}",
        "9**9**9**9",
        "9^{999999999}",
        "(9^{9999})^{9999}",
        "2^{10!}",
        "(10!)!",
        "1000000000!",
        "9999!^{9999}",
        r"\binom{1000000000}{500000000}",
        "x^{((((2))))^{9}}",
        r"\sum_{k=1}^{1000000} \frac{1}{k}",
        r"\prod_{k=1}^{100000} (1 + \frac{1}{k^2})",
        r"\sum_{k=1}^{900} \sum_{j=1}^{900} \sin(kj)",
    ],
)
def test_what_would_take_forever_is_refused_on_either_side(boxed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is computed: by its look, or by the reader of the process that compares."""
    compared: list[tuple[str, str]] = []
    monkeypatch.setattr(mathematics, "same_expression", lambda *sides: compared.append(sides))
    assert grade(f"\\boxed{{{boxed}}}", "1") == Verdict(False, "unparsed")
    assert grade(r"\boxed{1}", boxed) == Verdict(False, "unparsed")
    assert all(None in map(read, sides) for sides in compared)


def test_grading_works_outside_the_main_thread() -> None:
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(grade(r"\boxed{(x+1)^2}", "x^2+2x+1")))
    thread.start()
    thread.join()
    assert verdicts == [Verdict(True, "symbolic")]


@given(st.fractions(max_denominator=10_000), st.fractions(max_denominator=10_000))
def test_numbers_are_compared_exactly(one: object, other: object) -> None:
    verdict = grade(f"The answer is {one}.", str(other))
    assert verdict.correct == (one == other)
    assert verdict.how in ("exact", "numeric")


@given(st.text("\\{}()[]^_!/,.=+-%$ 19xyie", max_size=12))
def test_any_reply_gets_a_verdict(text: str) -> None:
    verdict = grade(f"#### {text}", r"\frac{x}{2}")
    assert not verdict.correct or "x" in text
