"""The last complete box is found, whatever braces are in and around it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.tasks.boxed import boxed_answer, last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so $\boxed{7}$.", "7"),
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{\frac{1}{1+\frac{1}{x}}}", r"\frac{1}{1+\frac{1}{x}}"),
        (r"First \boxed{3}, then finally \boxed{7}", "7"),
        (r"\fbox{4}", "4"),
        (r"\fbox{3} but \boxed{5}", "5"),
        (r"\boxed{3} but \fbox{5}", "5"),
        (r"\boxed {6}", "6"),
        (r"$\boxed 7$ cents", "7"),
        (r"is $\boxed 12.$", "12"),
        (r"is \boxed7", "7"),
        (r"is \boxed -5.", "-5"),
        (r"\[\boxed \frac{1}{2}\]", r"\frac{1}{2}"),
        (r"\frac{\boxed 5}{2}", "5"),
        (r"the letter $\boxed E$", "E"),
        (r"\boxed{\boxed{2}}", r"\boxed{2}"),
        (r"\boxed{1} \boxed{x \boxed{2} y}", r"x \boxed{2} y"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\{ 1}", r"\{ 1"),
        (r"\boxed{a \\}", r"a \\"),
        (r"x \\\boxed{5}", "5"),
        ("\\boxed{\n  9\n}", "9"),
        (r"\boxed{3} and cut short: \boxed{4", "3"),
        (r"cut short: \boxed{4 + \boxed{3}", "3"),
        (r"{ never closed \boxed{8}", "8"),
        (r"} too many \boxed{8} }", "8"),
        (r"\boxed{5}; your answer goes into \boxed{}", "5"),
        (r"\boxed{5} is what the \boxed command shows", "5"),
        (r"\boxedfoo{5}", None),
        (r"\boxed{", None),
        ("boxed{5}", None),
        (r"the answer is \\boxed{5}", "5"),
        (r"$12 + \boxed{?} = 20$", None),
        (r"\boxed{8}, since $12 + \boxed{\ldots} = 20$", "8"),
        ("", None),
    ],
)
def test_the_last_complete_box_counts(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{-4} and \boxed{9}.", "-4, 9"),
        (r"roots $x=\boxed{-4}$ and $x=\boxed{9}$.", "-4, 9"),
        (r"$x=\boxed{3}$ and $y=\boxed{4}$", "x=3, y=4"),
        (r"$\boxed{3}$, $\boxed{5}$, and $\boxed{7}$", "3, 5, 7"),
        (r"\boxed{(1,5)} \text{ and } \boxed{(5,1)}", "(1,5), (5,1)"),
        (r"\boxed{7} or \boxed{7}", "7"),
        (r"\boxed{4}, so we get \boxed{7}", "7"),
        (r"\boxed{4}. \boxed{7}", "7"),
        (r"\boxed{1} and \boxed{x \boxed{2} y}", r"1, x \boxed{2} y"),
        (r"\boxed{1} and \boxed{?}", "1"),
        ("no box", None),
    ],
)
def test_boxes_side_by_side_are_one_answer(text: str, answer: str | None) -> None:
    assert boxed_answer(text) == answer


balanced = st.recursive(
    st.text(st.characters(exclude_characters="\\{}", exclude_categories=("Cs",)), max_size=8)
    | st.sampled_from([r"\{", r"\}", r"\\", r"\frac", r"\boxed "]),
    lambda inner: (
        st.lists(inner, max_size=4).map("".join)
        | inner.map(lambda text: "{" + text + "}")
        | inner.map(lambda text: r"\boxed{" + text + "}")
    ),
)


@given(content=balanced, before=balanced, after=st.text("abc 12.$\n", max_size=8))
def test_what_is_put_into_a_box_is_found(content: str, before: str, after: str) -> None:
    expected = f"<{content}>"
    assert last_boxed(f"{before} \\boxed{{{expected}}} {after}") == expected


@given(st.text("\\{}boxed 1a", max_size=60))
def test_any_text_has_a_box_that_stands_in_it_or_none(text: str) -> None:
    found = last_boxed(text)
    assert found is None or (found in text and found == found.strip() != "")


def test_boxes_that_are_never_closed_cost_linear_time() -> None:
    began = time.process_time()
    assert last_boxed(r"\boxed{1}" + r"\boxed{" * 100_000) == "1"
    assert boxed_answer(r"\boxed{1} and " * 20_000) == "1"
    assert time.process_time() - began < 2
