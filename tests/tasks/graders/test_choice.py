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
    r"The answer is C, I think: \boxed{none}",
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


WORDS = {"A": "the moon", "B": "answer the phone", "C": "right ventricle", "D": "best practice"}
NATURE = {"A": "the sun", "B": "the wind", "C": "the tide", "D": "answer a question."}
METALS = {"A": "iron", "B": "copper", "C": "gold", "D": "silver"}
NUMBERS = {"A": "15", "B": "2.5", "C": "40 cm", "D": "8"}
NAMES = {"1": "Ann", "2": "Eva"}

# What 36,000 published outputs and public reports showed: options that begin with "the", hedges, words around the mark,
# formulas on their own lines, boxes of the working, quotes, colours, equal numbers, Chinese.
NAMED_FURTHER = [
    (r"\boxed{A x - 3 + y}", {"A": "x - 3 + y", "B": "x 3 + y"}, "A"),
    (r"\boxed{x - 3 + y}", {"A": "x 3 + y", "B": "x - 3 + y"}, "B"),
    ("The answer is silver, not gold.", METALS, "D"),
    (r"\boxed{C} and once more \boxed{C}", METALS, "C"),
    ("B is correct? No, C is correct.", METALS, "C"),
    (r"The answer is C, I think: \boxed{?}", METALS, "C"),
    (r"\boxed{the sun}", NATURE, "A"),
    ("The answer is answer a question.", NATURE, "D"),
    ("The answer is the wind.", NATURE, "B"),
    (r"\boxed{sun}", NATURE, "A"),
    ("The answer is most likely B.", METALS, "B"),
    ("The answer is probably B.", METALS, "B"),
    ("The answer is clearly B.", METALS, "B"),
    ("The answer is therefore B.", METALS, "B"),
    ("The correct answer to this question is B.", METALS, "B"),
    ("Ans: B", METALS, "B"),
    ("Therefore, B is correct.", METALS, "B"),
    ("Therefore B is correct.", METALS, "B"),
    ("So it is B.", METALS, "B"),
    ("It's B.", METALS, "B"),
    ("We choose B.", METALS, "B"),
    ('\\boxed{"B"}', METALS, "B"),
    (r"\boxed{\color{blue}{B}}", METALS, "B"),
    (r"\boxed{\textcolor{red}{B}}", METALS, "B"),
    (r"\boxed{\mathsf B}", METALS, "B"),
    (r"\boxed{\mathsf{B}}", METALS, "B"),
    ("option2", NAMES, "2"),
    (r"\boxed{option2}", NAMES, "2"),
    (r"\boxed{15.0}", NUMBERS, "A"),
    (r"\boxed{40cm}", NUMBERS, "C"),
    (r"\boxed{\frac52}", NUMBERS, "B"),
    (r"\boxed{\frac{5}{2}}", NUMBERS, "B"),
    (r"\boxed{5/2}", NUMBERS, "B"),
    (r"\boxed{8.00}", NUMBERS, "D"),
    ("\\boxed{?} and so\n#### B", METALS, "B"),
    ("The answer is:\n\\[\nB\n\\]", METALS, "B"),
    ("The answer is:\n\n$$\n\\text{B}\n$$", METALS, "B"),
    ("Answer:\n```\nB\n```", METALS, "B"),
    ("We find \\boxed{\\langle H\\rangle = 4 eV} for it, so\n\n**Answer: D**", METALS, "D"),
    ("Energy is \\boxed{4}.\nAnswer: D", METALS, "D"),
    ("Energy is \\boxed{8}.\nAnswer: B", NUMBERS, "B"),
    (r"Energy is \boxed{8}.", NUMBERS, "D"),
    ('Answer: "B"', METALS, "B"),
    ("Answer: 'B'", METALS, "B"),
    ("Answer: \u201cB\u201d", METALS, "B"),
    ("\u7b54\u6848\u662fB", METALS, "B"),
    ("\u7b54\u6848\u662f B\u3002", METALS, "B"),
    ("\u7b54\u6848\uff1aB", METALS, "B"),
    ("\u7b54\u6848\u662f\uff08B\uff09", METALS, "B"),
    ("\u6545\u9009B", METALS, "B"),
    ("\u7b54\u6848\u662fB\u9879", METALS, "B"),
    ("B\n\nExplanation: copper is what wires are made of.", METALS, "B"),
    ("(B)\n\nThe others do not conduct.", METALS, "B"),
    (r"\boxed{\$16}", {"A": "12", "B": "14", "C": "16", "D": "18"}, "C"),
    (r"\boxed{\$16}", {"12": "x", "14": "y", "16": "z"}, "16"),
    (r"\boxed{16}", {"A": "$12", "B": "$16"}, "B"),
    (r"\boxed{\$16}", {"A": "\\$12", "B": "\\$16"}, "B"),
    (r"\boxed{B copper}", METALS, "B"),
    (r"\boxed{A iron}", METALS, "A"),
    (r"\boxed{1 Ann}", NAMES, "1"),
    (r"\boxed{2 Eva}", NAMES, "2"),
    ("The answer is copper.", METALS, "B"),
    ("The answer is copper, because wires are made of it.", METALS, "B"),
    ("<b>B</b>", METALS, "B"),
    ("The answer is __B__.", METALS, "B"),
    ("### Answer\n\nB", METALS, "B"),
    ("**Final answer**\n\n**B**", METALS, "B"),
    ("> B", METALS, "B"),
    ("- B", METALS, "B"),
    ("# Solution\n#### Step 1\nx\n#### Step 2\ny\n\nThe answer is B", METALS, "B"),
    ("#### Option A\nno\n#### Option B\nyes\n#### Option C\nno\n\nSo the answer is B.", METALS, "B"),
    ("#### A. iron\nbad\n#### B. copper\ngood\n#### C. gold\nbad\nTherefore, B is correct.", METALS, "B"),
    ("So B is correct, and A is wrong.", METALS, "B"),
    ("B is right because A is wrong.", METALS, "B"),
    ("Therefore, option C is right, as vitamin D shows.", METALS, "C"),
    ("The answer is B, not C.", METALS, "B"),
    ("The answer is B rather than C.", METALS, "B"),
    ("Copper conducts best, so (B) is the best choice. The best answer is [].", METALS, "B"),
    ("I believe that the answer is (B), copper.", METALS, "B"),
    ("The answer is (B) copper.", METALS, "B"),
    ("The answer is B (copper).", METALS, "B"),
    ("Thus, the final answer is: B: copper", METALS, "B"),
    ("Correct answer: B", METALS, "B"),
    ("My answer = B", METALS, "B"),
    ("The answer to question 3 is B.", METALS, "B"),
    ("Answer to question 3: B", METALS, "B"),
    ("The answer will be B", METALS, "B"),
    ("The answer is, most likely, B.", METALS, "B"),
    (r"\boxed{the moon}", WORDS, "A"),
    (r"\boxed{\text{right ventricle}}", WORDS, "C"),
    ("The answer is most likely B.", WORDS, "B"),
    ("The answer is therefore C.", WORDS, "C"),
    ("The correct answer to this question is D.", WORDS, "D"),
    ("It rings.\nTherefore, B is correct.", WORDS, "B"),
    ("We fill in $12 + \\boxed{?} = 20$.\n#### D", NUMBERS, "D"),
    ('\\boxed{"B"}', WORDS, "B"),
    (r"\boxed{\color{blue}{D}}", WORDS, "D"),
]

NOT_NAMED_FURTHER = [
    ("The answer is not B but C.", METALS),
    ("Both B and C are correct.", METALS),
    ("The answer could be B.", METALS),
    ("So group A is right.", METALS),
    (r"\boxed{40}", NUMBERS),
    (r"\boxed{40 m}", NUMBERS),
    (r"\boxed{15 or 8}", NUMBERS),
    ("\u7b54\u6848\u4e0d\u662fB", METALS),
    ("\u6211\u4e0d\u9009B", METALS),
    ("**B**\n\nIt conducts, and (C) costs too much.", METALS),
    ("The answer is iron or copper.", METALS),
    ("The answer is iron, copper.", METALS),
    ("The answer is iron oxide.", METALS),
    ("Suppose the answer is B.", METALS),
    ("If the answer is B, then wires glow.", METALS),
    ("Is the answer B?", METALS),
    ("The answer is B?", METALS),
    ("If B is correct, C is wrong.", METALS),
    ("Only A or B is correct.", METALS),
    ("B is correct. C is correct.", METALS),
    ("It is not the case that B is correct.", METALS),
    ("Unlike option B, C fits.", METALS),
    ("Answer choices: A. iron B. copper", METALS),
    ("Answer choices:\nA. iron\nB. copper", METALS),
    ("Answer choices:\nA. iron\nB. copper\n\nI do not know.", METALS),
    ("The answer choices are A and B.", METALS),
    ("We choose C so that f is continuous.", METALS),
    ("It is C major.", METALS),
    ("B cells make antibodies.", METALS),
    ("So A, B and C remain.", METALS),
    ("My answer would change if it is B.", METALS),
    ("The answer A gives is wrong.", METALS),
    ("Iron, which is heavy, sinks.", METALS),
    ("C would be wrong because of rust.", METALS),
    ("Option C seems wrong.", METALS),
    ("Option A\nis bad.\nOption B\nis bad.", METALS),
    ("A\nB\nC\nD", METALS),
    ("The answer is none of A, B or C.", METALS),
    ("The answer is neither A nor B.", METALS),
    ("The answer is not obvious, but it is B.", METALS),
    ("The best answer is [].", METALS),
    ("The answer is copper or gold.", METALS),
    ("The answer is copper, or maybe gold.", METALS),
    (r"It is \boxed{A} and \boxed{B}.", METALS),
    (r"\boxed{A}, \boxed{B}, \boxed{C}", METALS),
    (r"\boxed{the}", WORDS),
    (r"\boxed{answer}", WORDS),
    (r"\boxed{$16$ and $12$}", NUMBERS),
    (r"\boxed{\frac{5}{0}}", NUMBERS),
    (r"\boxed{-15}", NUMBERS),
    (r"\boxed{8\%}", NUMBERS),
]


@pytest.mark.parametrize(("reply", "options", "label"), NAMED_FURTHER)
def test_the_option_is_found_in_further_forms(reply, options, label):
    assert chosen_option(reply, options) == label
    assert grade_choice(reply, label, options).correct


@pytest.mark.parametrize(("reply", "options"), NOT_NAMED_FURTHER)
def test_a_sentence_that_does_not_decide_names_no_option(reply, options):
    assert chosen_option(reply, options) is None


@pytest.mark.parametrize(("number", "text"), [("A", "neon"), ("B", "the sun"), ("C", "a rash"), ("D", "B"), ("A", "I")])
def test_an_option_is_known_by_its_text_and_by_label_and_text(number, text):
    options = {label: text if label == number else f"else {label}" for label in "ABCD"}
    wanted = "B" if text == "B" else number
    for reply in (f"\\boxed{{{text}}}", f"The answer is {text}.", f"#### {text}", f"I think so.\n{text}"):
        assert chosen_option(reply, options) == wanted, reply
    for reply in (f"\\boxed{{{number} {text}}}", f"\\boxed{{{number}. {text}}}", f"The answer is ({number}) {text}."):
        assert chosen_option(reply, options) == number, reply


def test_options_with_the_same_text_are_all_right():
    options = {"A": "x", "B": "x", "C": "y", "D": "", "E": ""}
    for answer, reply, correct in (
        ("A", "B", True),
        ("B", "x", True),
        ("B", "y", False),
        ("C", "A", False),
        ("D", "E", False),
    ):
        assert grade_choice(f"\\boxed{{{reply}}}", answer, options).correct == correct


def test_marks_by_the_thousand_take_no_time():
    for piece in (
        "answer is ",
        "the ",
        "then ",
        "answer to ",
        "so ",
        "B is ",
        "#### ",
        "\\boxed{",
        "answer a b ",
        "A, ",
        "(",
        "\n",
    ):
        chosen_option(piece * 5_000, METALS)


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
