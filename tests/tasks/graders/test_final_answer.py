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
        (r"the length is \frac{1}{\sqrt{2}}.", r"\frac{1}{\sqrt{2}}"),
        (r"Then $x = 5\sqrt{6}$.", r"5\sqrt{6}"),
        ("we get x^2", "x^2"),
        ("it lies in (3,7)", "(3,7)"),
        ("... = 6+9i.", "6+9i"),
        ("it is \u22127", "\u22127"),
        ("There are 5 cats (3 black)", "3"),
        ("- 3 apples", "3"),
        ("5 = x", "5"),
        ("at x=3,y=4", "x=3,y=4"),
        ("x = 3 or x = 5", "5"),
        ("It ends at 10:30 p.m.", "10:30 p.m"),
        ("He earns $12/hour", "$12"),
        ("She has 5!", "5"),
        ("so he made 120,000+80,000=$<<120000+80000=200000>>200,000", "$200,000"),
        (r"which is \pi.", r"\pi"),
        ("a\n\nThe matrix is \\begin{pmatrix} 1 & 2 \\end{pmatrix}.", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
        ("It is 118\u202f000", "118\u202f000"),
        ("The answer to this question is 12. I used 3 steps.", "12"),
        ("The final answer would be 52, since there are 3 of them.", "52"),
        ("The answer (arabic numerals) is 80. So 3", "80"),
        ("Answer = 12. It took 3 days.", "12"),
        ("The answers are 3 and 5.", "3 and 5"),
        ("The answer is **42** apples.", "42 apples"),
        ("express the answer as a percentage: 32 of 96 are 33%", "33%"),
        ("The answer is:\n\\[\n45\n\\]", "45"),
        ("Final Answer:\n$$\n42\n$$", "42"),
        ("The answer is:\n```\n42\n```", "42"),
        ("### Final Answer\n42", "42"),
        ("**Final Answer**\n\n\\[\n\\frac{1}{2}\n\\]", r"\frac{1}{2}"),
        ("#### Answer: 28", "28"),
        ("#### <<3*4=12>>12", "12"),
        ("#### Step 1\nx=2\n#### Step 2\ny=3\n\nThe answer is 42", "42"),
        ("#### Evelyn\nThat is it.", "Evelyn"),
        ("The answer is Alice, Bob.", "Alice, Bob"),
        ("##### 4 more\nso it is 5", "5"),
        (r"\boxed{-4} and \boxed{9}", "-4, 9"),
        ("Answer:", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_final_answer_is_found(reply: str, answer: str | None) -> None:
    assert final_answer(reply) == answer


def test_long_replies_are_read_in_linear_time() -> None:
    began = time.process_time()
    # In the order of the rules; each is the worst for one of them.
    for piece in (
        "answer is ",
        "#### ",
        r"\boxed{",
        "1,234 ",
        "** ",
        "answer" + " " * 50,
        "1" * 50,
        "answer a ",
        "#### Step ",
        "(",
        "<<",
        "1+",
    ):
        final_answer(piece * 10_000)
    assert time.process_time() - began < 10
