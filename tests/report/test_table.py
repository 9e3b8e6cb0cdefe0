import pytest
from rich.console import Console
from rich.text import Text

from interlat.evaluation.statistics import Interval
from interlat.report.table import Column, compact_number, folded, markdown_table, p_text, percent, points, rich_table

COLUMNS = (Column("\nname", lambda row: row[0], left=True), Column("how\nmany", lambda row: str(row[1])))
ROWS = [("a [bold]", 1), ("b|c", 22)]


def printed(table):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_one_set_of_columns_makes_both_tables():
    assert printed(rich_table(COLUMNS, {"": ROWS})) == [
        "          how",
        "name     many",
        "─────────────",
        "a [bold]    1",
        "b|c        22",
    ]
    lines = ["| name | how many |", "| --- | ---: |", "| a [bold] | 1 |", "| b\\|c | 22 |"]
    assert markdown_table(COLUMNS, ROWS) == "\n".join(lines)


def test_blocks_have_a_line_for_their_name():
    lines = printed(rich_table(COLUMNS, {"one": ROWS[:1], "two": ROWS[1:]}))
    assert lines[3:] == ["one", "a [bold]    1", "", "two", "b|c        22"]


def test_cells_fold_between_lines_and_keep_their_style():
    long = [Column("x", lambda row: Text(row, style="bold"))]
    lines = printed(rich_table(long, {"": ["a" * 100]}, title="T", lined=True))
    assert max(map(len, lines)) <= 80 and sum(line.count("a") for line in lines) == 100 and "T" in lines[0]


def test_numbers_are_written_short():
    assert [compact_number(value) for value in (0, 0.0128, 2.512, 84.24, 1234.4, 38_400, 384_000, 2.5e6)] == [
        *("0", "0.013", "2.51", "84.2", "1234", "38.4k", "384k", "2.5M"),
    ]
    assert [p_text(value) for value in (0.00001, 0.00052, 0.0123, 0.25)] == ["<0.0001", "0.0005", "0.012", "0.25"]
    assert [points(value) for value in (0.125, -0.0001, -0.5)] == ["+12.5", "0.0", "-50.0"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({}, "82.5 [75.1, 88.0]"), ({"ends": 0}, "82.5 [75,88]"), ({"sign": "+"}, "+82.5 [+75.1, +88.0]")],
)
def test_rates_come_with_their_interval(arguments, text):
    assert percent(Interval(0.825, 0.751, 0.88), **arguments) == text


def test_names_break_only_where_they_may():
    assert folded("covariance_gaussian_centred", 17) == "covariance_\ngaussian_centred"
    assert folded("latent - zeros", 40) == "latent - zeros"
