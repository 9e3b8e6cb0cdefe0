"""The answer of a reply, wherever it stands and however long the reply is."""

import time

import pytest

from interlat.tasks.graders.final_answer import final_answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (r"First \boxed{3}, then finally \boxed{7}", "7"),
        (r"\boxed{7}, so the answer is 3", "7"),
        ("2 + 2 = 4\n#### 4\n", "4"),
        ("#### 1,234.\nThat is it.", "1,234"),
        ("The answer is 3, no: the answer is 18 dollars.", "18 dollars"),
        ("The answer is 3.5 miles. It took 2 hours.", "3.5 miles"),
        ("**Answer:** 42", "42"),
        ("**Final answer: 42**.", "42"),
        ("Answer:\n\n$\\frac{1}{2}$", r"$\frac{1}{2}$"),
        ("She has 3 hens, so 3 * 6 = 18.", "18"),
        ("It falls to -2.5", "-2.5"),
        ("From 5-3 we get", "5-3"),
        (r"so x = \frac{3}{4}.", r"\frac{3}{4}"),
        ("In all 1,234,567 of them", "1,234,567"),
        ("a share of 3/4 of it", "3/4"),
        ("It rises by 20%.", "20%"),
        ("It has about 1.5e3 of them", "1.5e3"),
        ("It is 1.5 \u00d7 10^{3}.", "1.5 \u00d7 10^{3}"),
        ("It takes 3 1/2 hours", "3 1/2"),
        ("Answer:", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_final_answer_is_found(reply: str, answer: str | None) -> None:
    assert final_answer(reply) == answer


def test_long_replies_are_read_in_linear_time() -> None:
    started = time.perf_counter()
    for piece in ("answer is ", "#### ", r"\boxed{", "1,234 ", "** ", "answer" + " " * 50, "1" * 50):
        final_answer(piece * 20_000)
    assert time.perf_counter() - started < 10
