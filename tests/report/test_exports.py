"""CSV and LaTeX of a summary, read again."""

import csv
import io
import re

import pytest

from interlat.report.exports import csv_of, exported_tables, latex_of, latex_table, latex_text
from interlat.report.summary import summarise
from interlat.report.table import Column


@pytest.fixture
def summary(make_results):
    return summarise(make_results(steps=40))


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_every_number_of_the_summary(summary):
    files = exported_tables(summary)
    rows = rows_of(files["tables/arms.csv"])
    assert len(rows) == len(summary.rows)
    for found, row in zip(rows, summary.rows, strict=True):
        assert (found["variant"], found["group"], int(found["items"])) == (row.variant, row.group, row.items)
        ends = [float(found[f"success.{name}"]) for name in ("estimate", "low", "high")]
        assert ends == [row.success.estimate, row.success.low, row.success.high]
        assert all(float(found[name]) == mean for name, mean in row.means.items())
    pairs = rows_of(files["tables/comparisons.csv"])
    assert [float(one["test.p_value"]) for one in pairs] == [one.test.p_value for one in summary.comparisons]


def test_a_field_that_only_some_rows_have_is_empty_in_the_others():
    rows = rows_of(csv_of([{"name": "a, b", "score": None}, {"name": 'c "d"', "mean": {"low": 0.1}}]))
    assert rows == [
        {"name": "a, b", "score": "", "mean.low": ""},
        {"name": 'c "d"', "score": "", "mean.low": "0.1"},
    ]


def test_every_line_of_a_tabular_has_as_many_cells_as_columns(summary):
    text = latex_of(summary)
    tabulars = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL)
    assert len(tabulars) == 1 + len(summary.groups)
    for places, body in tabulars:
        for line in body.strip().splitlines():
            if not line.endswith("\\\\"):
                assert line in (r"\toprule", r"\midrule", r"\bottomrule")
                continue
            cells = re.split(r"(?<!\\)&", line)
            widths = [int(found) for found in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(cells) - len(widths) + sum(widths) == len(places)


def test_the_first_table_has_the_layout_of_the_papers(summary):
    first = latex_of(summary).split(r"\end{tabular}")[0]
    for group in summary.groups:
        assert rf"\multicolumn{{2}}{{c}}{{{group}}}" in first
    for variant in summary.variants:
        (line,) = [line for line in first.splitlines() if line.startswith(f"{latex_text(variant)} & ")]
        row = next(row for row in summary.rows if (row.variant, row.group) == (variant, summary.groups[0]))
        assert line.split(" & ")[1].startswith(f"{100 * row.success.estimate:.1f} [")
        assert line.split(" & ")[2] == f"{row.steps.estimate:.2f}"


def test_special_characters_are_printed():
    assert latex_text(r"a_b & 5 % <0.1 \ {x} #1 ~ ^ $") == (
        r"a\_b \& 5 \% \textless{}0.1 \textbackslash{} \{x\} \#1 \textasciitilde{} \textasciicircum{} \$"
    )
    table = latex_table([Column("name\nof it", str, left=True), Column("n", lambda row: "1")], ["x_y"])
    assert table.splitlines()[0] == r"\begin{tabular}{lr}" and r"name of it & n \\" in table and r"x\_y & 1 \\" in table
