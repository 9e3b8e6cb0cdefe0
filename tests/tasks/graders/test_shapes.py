import pytest

from interlat.tasks.graders.shapes import comparable, in_one_form, parts, shape


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (r"x\in[-2,7]", "[-2,7]"),
        (r"\{x:x\le2\}", r"x\le2"),
        (r"\{x\in\mathbb{R}\mid x>3\}", "x>3"),
        (r"\mathbb{R}", r"(-\infty,\infty)"),
        ("all real numbers", r"(-\infty,\infty)"),
        ("the empty set", r"\emptyset"),
        ("5>x>2", "2<x<5"),
        (r"5>x\ge2", r"2\le x<5"),
        ("x<1 or x>4", r"(-\infty,1)\cup(4,\infty)"),
        (r"4\le x or x<1", r"[4,\infty)\cup(-\infty,1)"),
        ("x<1 or y>4", "x<1,y>4"),
        (r"0<x<1 or x>4", r"(0,1)\cup(4,\infty)"),
        (r"\pm2", "2,-2"),
        (r"0,\frac{3\pm\sqrt{13}}{4}", r"0,\frac{3+\sqrt{13}}{4},\frac{3-\sqrt{13}}{4}"),
        (r"\{\pm1\}", r"\{1,-1\}"),
        (r"(\pm2,3)", "(2,3),(-2,3)"),
        (r"x=\pm2", "x=2,x=-2"),
        (r"\pm1\pm2", r"\pm1\pm2"),
        ("-3 and 1", "-3,1"),
        ("sand", "sand"),
    ],
)
def test_one_form(text, form):
    assert in_one_form(text) == form


@pytest.mark.parametrize(
    ("found", "gold", "sides"),
    [
        ("x=7,y=2", "(7,2)", ("(7,2)", "(7,2)")),
        ("y=2,x=7", "(7,2)", ("(7,2)", "(7,2)")),
        ("(7,2)", "x=7,y=2", ("(7,2)", "(7,2)")),
        ("(4,5,6)", "4,5,6", ("(4,5,6)", "(4,5,6)")),
        ("(4,5)", "4,5", None),
        (r"\{4,5\}", "(4,5)", None),
        ("[4,5,6]", "4,5,6", None),
        ("P(X>4)=2", "2", ("2", "2")),
        (r"\det A=5", "5", ("5", "5")),
        ("f(x)=2x", "y=2x", ("2x", "2x")),
        ("x=5", "y=5", ("x=5", "y=5")),
        ("1", "2x+z=1", ("1", "2x+z=1")),
        ("y=1", "2x+z=1", ("y=1", "2x+z=1")),
    ],
)
def test_what_can_be_compared(found, gold, sides):
    assert comparable(found, gold) == sides


def test_shapes_and_parts():
    assert [shape(text) for text in (r"\{1\}", "(1,2)", "[1,2)", "1,2", "(1,2),(3,4)", "f(1,2)", "1")] == [
        *("braces", "brackets", "brackets", "list", "list", "other", "other")
    ]
    assert parts("(1,2),{3,4},5", ",") == ["(1,2)", "{3,4}", "5"]
