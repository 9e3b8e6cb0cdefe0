"""The tables of an evaluation for other programs and for papers: CSV with every number, and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from interlat.report.summary import Row, Summary
from interlat.report.table import Column, RowType, comparison_columns, donor_columns, percent

FOLDER = "tables"
"""Where the files go, in the run directory."""
_WIDE = 1000
_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def exported_tables(summary: Summary) -> dict[str, str]:
    """Name of a file in the run directory -> its content: one CSV file a kind of row, and all tables as LaTeX."""
    found = summary.as_dict()
    files = {
        f"{FOLDER}/{name}.csv": csv_of(rows)
        for name, rows in (
            ("arms", found["rows"]),
            ("comparisons", found["comparisons"]),
            ("donors", found["donors"]),
        )
        if rows
    }
    return {**files, f"{FOLDER}/tables.tex": latex_of(summary)}


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same or other fields as CSV; a field within a field is named ``outer.inner``, and None is empty."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return written.getvalue()


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def latex_of(summary: Summary) -> str:
    """All tables as LaTeX; the package booktabs is all that they need.

    The first has the layout of the papers: one line an arm, and for each group of items the success with its interval
    and the mean number of steps where there are several.
    """
    lines = ["% \\usepackage{booktabs}", ""]
    lines += [_results(summary), ""]
    comparisons = comparison_columns("items", _WIDE, adjusted=True)
    for group, rows in summary.by_group(summary.comparisons).items():
        if rows:
            lines += [f"% {' '.join(['paired differences', group]).strip()}", latex_table(comparisons, rows), ""]
    if summary.donors:
        lines += ["% answers under the messages of other items", latex_table(donor_columns(_WIDE), summary.donors), ""]
    return "\n".join(lines)


def latex_table(columns: Sequence[Column[RowType]], rows: Sequence[RowType]) -> str:
    """A tabular with rules above, below the head and below; numbers are set to the right."""
    head = [latex_text(" ".join(column.head.split())) for column in columns]
    body = [[latex_text(str(column.cell(row))) for column in columns] for row in rows]
    return _tabular("".join("l" if column.left else "r" for column in columns), [head], body)


def latex_text(text: str) -> str:
    """A text whose special characters LaTeX prints."""
    return "".join(_SPECIAL.get(char, char) for char in text)


def _results(summary: Summary) -> str:
    """Arms by groups."""
    groups = list(summary.groups)
    of = {(row.variant, row.group): row for row in summary.rows}
    several = any(row.steps is not None and row.steps.high > 1 for row in summary.rows)
    above = ["", *(rf"\multicolumn{{{1 + several}}}{{c}}{{{latex_text(group or 'all')}}}" for group in groups)]
    head = ["arm", *(name for _ in groups for name in (r"success \%", *(["steps"] if several else [])))]
    body = [
        [latex_text(variant), *(cell for group in groups for cell in _cells(of.get((variant, group)), several))]
        for variant in summary.variants
    ]
    return _tabular("l" + ("rr" if several else "r") * len(groups), [above, head], body)


def _cells(row: Row | None, several: bool) -> list[str]:
    if row is None:
        return ["--"] * (1 + several)
    steps = [f"{row.steps.estimate:.2f}" if row.steps else "--"] if several else []
    return [percent(row.success), *steps]


def _tabular(places: str, heads: Sequence[Sequence[str]], body: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    parts = [rf"\begin{{tabular}}{{{places}}}", r"\toprule", *map(line, heads), r"\midrule", *map(line, body)]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}"])
