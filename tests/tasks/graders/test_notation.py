import pytest

from interlat.tasks.graders.notation import closing, in_one_spelling


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("\u22127", "-7"),
        ("\u20137", "-7"),
        ("4\u221a5", r"4\sqrt{5}"),
        ("\u221a(x+1)y", r"\sqrt{x+1}y"),
        ("\u221b8", r"\sqrt[3]{8}"),
        (r"\sqrt(2)+\sqrt((3))", r"\sqrt{2}+\sqrt{(3)}"),
        ("10\u00b9\u00b2", "10^{12}"),
        ("10\u207b\u2075", "10^{-5}"),
        ("x\u2081", "x_{1}"),
        ("E_1", "E_{1}"),
        (r"\log_2 8", r"\log_{2} 8"),
        ("27\u202f500", "27500"),
        ("1 000 000", "1000000"),
        ("1 2", "1 2"),
        ("1 000 00", "1 000 00"),
        ("2 100/3", "2 100/3"),
        ("\uff11\uff12", "12"),
        ("3\u00bd", "3 1/2"),
        ("\u215e", "7/8"),
        ("negative 7", "-7"),
        ("90\u00ba", "90"),
        (r"-15^\circ C", "-15"),
        (r"25^{\circ}\text{F}", "25"),
        (r"\sin 45^\circ", r"\sin (\frac{45\pi}{180})"),
        (r"\displaystyle (6,-1)", "(6,-1)"),
        (r"\color{red}{12}", "12"),
        (r"\underline{12}", "12"),
        (r"\bf 12", "12"),
        (r"\therefore \approx 3.5", "3.5"),
        ("= 5", "5"),
        (r"\langle1,2\rangle", "(1,2)"),
        (r"\varnothing", r"\emptyset"),
        (r"0.333...", r"0.333\ldots"),
        (r"7\text{ a.m.}", r"7\text{ am}"),
        ("`42`", "42"),
        (r"18\\", "18"),
    ],
)
def test_one_spelling(text, spelling):
    assert in_one_spelling(text) == spelling


@pytest.mark.parametrize(("text", "place"), [("(a)b", 2), ("[1,2)x", 4), ("((", -1), ("{}", 1)])
def test_where_a_bracket_closes(text, place):
    assert closing(text) == place
