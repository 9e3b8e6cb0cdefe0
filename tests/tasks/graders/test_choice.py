import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.errors import InputError
from interlat.tasks.graders.choice import chosen_option, grade_choice
from interlat.tasks.graders.verdict import Verdict

OPTIONS = {"A": "B cells", "B": "a rash of 5 mg", "C": "aspirin, 5 mg daily", "D": "12", "E": "I beam"}

NAMED = [
    (r"\boxed{C}", "C"),
    (r"\boxed{c}", "C"),
    (r"\boxed{(C)}", "C"),
    (r"\boxed{ C }", "C"),
    (r"\boxed{C.}", "C"),
    (r"\boxed{C)}", "C"),
    (r"\boxed{\text{C}}", "C"),
    (r"\boxed{\text{(C)}}", "C"),
    (r"\boxed{\textbf{C}}", "C"),
    (r"\boxed{\mathrm{C}}", "C"),
    (r"\boxed{\mathbf{(c)}}", "C"),
    (r"\boxed{C. aspirin, 5 mg daily}", "C"),
    (r"\boxed{C: aspirin}", "C"),
    (r"\boxed{\text{C. 5 mg daily}}", "C"),
    (r"\boxed{C \text{ aspirin}}", "C"),
    (r"\boxed{\text{Option C}}", "C"),
    (r"\boxed{aspirin, 5 mg daily}", "C"),
    (r"\boxed{\text{Aspirin, 5 mg daily.}}", "C"),
    (r"\boxed{B cells}", "A"),
    (r"\boxed{12}", "D"),
    (r"\boxed{I beam}", "E"),
    (r"\boxed{E}", "E"),
    (r"First \boxed{A}, but no: \boxed{D}", "D"),
    ("#### C", "C"),
    ("#### (C)\nDone.", "C"),
    ("The answer is C.", "C"),
    ("The answer is (C).", "C"),
    ("The answer is **C**.", "C"),
    ("The answer is $C$", "C"),
    ("The answer is: C", "C"),
    ("The correct answer is option C, since it helps.", "C"),
    ("The correct option is C) aspirin", "C"),
    ("The best choice is c.", "C"),
    ("Answer: C", "C"),
    ("**Answer:** C", "C"),
    ("**Answer: (C) aspirin**", "C"),
    ("Final answer: C", "C"),
    ("Answer:\nC", "C"),
    ("Answer:\n\n[C]", "C"),
    ("The answer is C because aspirin thins the blood.", "C"),
    ("The answer is A because they make antibodies.", "A"),
    ("The answer must be B.", "B"),
    ("I would go with D.", "D"),
    ("I choose E, the beam.", "E"),
    ("So the answer is B cells.", "A"),
    ("The answer is A. No, wait, the answer is B.", "B"),
    ("The answer is B. The answer is not C", "B"),
    ("Step 2 gives 7. The answer is B", "B"),
    ("It thins the blood.\nC", "C"),
    ("It thins the blood.\n(C)", "C"),
    ("It thins the blood.\n**C. aspirin, 5 mg daily**", "C"),
    ("It thins the blood.\n\nC.\n", "C"),
    ("It thins the blood.\naspirin, 5 mg daily", "C"),
    ("Therefore, option C is right.", "C"),
    ("Therefore, (C) is right.", "C"),
    ("We take choice (C) here", "C"),
    ("B is right.", "B"),
    ("D \u2013 a dozen", "D"),
    ("d) a dozen", "D"),
    ("[D] 12", "D"),
    ("The letter is C.", "C"),
]

NOT_NAMED = [
    "",
    "I do not know.",
    r"\boxed{}",
    r"\boxed{F}",
    r"\boxed{A or B}",
    r"\boxed{A, B}",
    r"\boxed{A and C}",
    r"\boxed{A/B}",
    r"\boxed{(A), (B)}",
    r"\boxed{AB}",
    r"\boxed{Cd}",
    r"\boxed{5}",
    r"\boxed{5 mg}",
    r"\boxed{aspirin}",
    r"\boxed{\text{none}}",
    r"The answer is C, I think: \boxed{?}",
    "#### either A or D",
    "The answer is A or B.",
    "The answer is either.",
    "The answer is not C.",
    "The answer is a mystery.",
    "The answer is A patient matter.",
    "The answer is Delightful",
    "Answer: Both B and C",
    "A patient asks for help.",
    "a rash of little spots",
    "I am at a loss.",
    "C is wrong.",
    "Option C is wrong.",
    "Option B is not right.",
    "Option C isn't right.",
    "Either (A) or (B) helps.",
    "Options A, B, C, D and E are all fine",
    "Vitamin C helps against it",
    "Because 12 of them are red",
    "Excellent",
    "e.g. a beam",
    "B, C and D",
    "C or D",
    "D & E",
]


@pytest.mark.parametrize(("reply", "label"), NAMED)
def test_the_option_is_found(reply, label):
    assert chosen_option(reply, OPTIONS) == label
    assert grade_choice(reply, label, OPTIONS) == Verdict(True, "exact")
    assert grade_choice(reply, "B" if label == "A" else "A", OPTIONS) == Verdict(False, "exact")


@pytest.mark.parametrize("reply", NOT_NAMED)
def test_no_option_is_found_where_none_or_several_are_named(reply):
    assert chosen_option(reply, OPTIONS) is None
    assert grade_choice(reply, "C", OPTIONS) == Verdict(False, "unparsed")


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        (r"\boxed{2}", "2"),
        ("The answer is 2.", "2"),
        ("The answer is option 2.", "2"),
        ("2", "2"),
        ("(1)", "1"),
        ("1: Ann", "1"),
        (r"\boxed{Eva}", "2"),
        ("The answer is Ann.", "1"),
        ("2 people were there", None),
        ("12", None),
        (r"\boxed{1 or 2}", None),
        (r"\boxed{1.5}", None),
        (r"\boxed{3}", None),
    ],
)
def test_options_may_be_numbered(reply, label):
    assert chosen_option(reply, {"1": "Ann", "2": "Eva"}) == label


def test_options_without_texts_are_known_by_their_labels():
    options = dict.fromkeys("ABCD", "")
    assert chosen_option(r"\boxed{B}", options) == "B" and chosen_option(r"\boxed{ }", options) is None


def test_a_label_counts_before_a_text_that_reads_the_same():
    """MedQA asks for vitamins: option C is vitamin D."""
    options = {"A": "A", "B": "C", "C": "D", "D": "K"}
    assert chosen_option(r"\boxed{C}", options) == "C" and chosen_option(r"\boxed{K}", options) == "D"


def test_a_right_answer_that_is_no_option_is_an_error():
    with pytest.raises(InputError, match="'Z' is none of the options A, B"):
        grade_choice(r"\boxed{A}", "Z", OPTIONS)


@given(st.text("ABC()[]. ,:ordnteis\\{}$*12\n", max_size=30))
def test_any_reply_gets_a_verdict(reply):
    assert chosen_option(reply, OPTIONS) in (*OPTIONS, None)
