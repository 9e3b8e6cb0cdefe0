"""One table writer: columns over rows, for a terminal of 80 columns and as Markdown; and how numbers are written."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from interlat.evaluation.statistics import AssignmentTest, Interval
from interlat.report.donors import DonorRow
from interlat.report.summary import Comparison, Row

RowType = TypeVar("RowType")


@dataclass(frozen=True)
class Column(Generic[RowType]):
    """One column of a table."""

    head: str
    """Its name; lines are broken in a terminal and joined in Markdown."""
    cell: Callable[[RowType], str | Text]
    """Row -> text, a `rich.text.Text` where it has a style."""
    left: bool = False
    """Set to the left; numbers are set to the right."""


def rich_table(
    columns: Sequence[Column[RowType]],
    blocks: Mapping[str, Sequence[RowType]],
    *,
    title: str | None = None,
    lined: bool = False,
) -> Table:
    """A table for a terminal.

    Args:
        columns: from left to right.
        blocks: name -> rows; a block whose name is empty has no line for it.
        title: above the table.
        lined: with lines around the cells, which may then fold.
    """
    plain: dict[str, Any] = {"show_edge": False, "pad_edge": False, "padding": 0}
    table = Table(title=title, box=HEAVY_HEAD if lined else SIMPLE_HEAD, **({} if lined else plain))
    for column in columns:
        table.add_column(
            column.head,
            justify="left" if column.left else "right",
            no_wrap=not lined,
            overflow="fold" if lined else "ellipsis",
        )
    for number, (name, rows) in enumerate(blocks.items()):
        if number:
            table.add_row()
        if name:
            table.add_row(Text(name, style="bold cyan"))
        for row in rows:
            cells = [column.cell(row) for column in columns]
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return table


def markdown_table(columns: Sequence[Column[RowType]], rows: Sequence[RowType]) -> str:
    """The same as Markdown, without a line break at the end."""
    lines = [[" ".join(column.head.split()) for column in columns]]
    lines += [["---" if column.left else "---:" for column in columns]]
    lines += [[str(column.cell(row)).replace("|", "\\|") for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def mean_of(field: str) -> Callable[[Row], str]:
    """A cell with the mean of a field of `Row.means`; a dash where no record has it."""
    return lambda row: compact_number(row.means[field]) if field in row.means else "-"


def comparison_columns(items: str, width: int = 34, adjusted: bool = False) -> list[Column[Comparison]]:
    """Paired comparisons: names on lines of ``width``, difference in points, p value, and p after Holm's correction."""
    columns: list[Column[Comparison]] = [
        Column("first - second", lambda one: folded(f"{one.first} - {one.second}", width), left=True),
        Column(items, lambda one: str(one.items)),
        Column("points", lambda one: points(one.difference.estimate)),
        Column("95 % interval", lambda one: f"[{points(one.difference.low)}, {points(one.difference.high)}]"),
        Column("p (McNemar)", lambda one: p_text(one.test.p_value)),
    ]
    return [*columns, Column("p (Holm)", lambda one: p_text(one.adjusted))] if adjusted else columns


def donor_columns(width: int = 15) -> list[Column[DonorRow]]:
    """Channels under the messages of other items: what changes, what follows the donor, and what chance gives."""
    return [
        Column("channel\n", lambda row: folded(row.channel, width), left=True),
        Column("items\n", lambda row: str(row.items)),
        Column("answer\nchanged %", lambda row: percent(row.changed, ends=0)),
        Column("donor's right\nanswer %", lambda row: _followed(row.right)),
        Column("donor's own\nanswer %", lambda row: _followed(row.own)),
        Column("p\n(Holm)", lambda row: p_text(row.p_value)),
        Column("channel\nis", lambda row: row.verdict),
    ]


def _followed(test: AssignmentTest) -> str:
    """A share of answers and what chance gives: 62.5 (5.1)."""
    return f"{100 * test.matches / test.pairs:.1f} ({100 * test.chance:.1f})" if test.pairs else "-"


def percent(interval: Interval, digits: int = 1, ends: int = 1, sign: str = "") -> str:
    """A rate with its interval in percent: 82.5 [75.1, 88.0], or 82.5 [75,88] without digits at the ends."""
    low, high = (f"{100 * end:{sign}.{ends}f}" for end in (interval.low, interval.high))
    return f"{100 * interval.estimate:{sign}.{digits}f} [{low},{' ' * bool(ends)}{high}]"


def compact_number(value: float) -> str:
    """A mean in at most 5 characters: 0.013, 2.51, 84.2, 1234, 38.4k."""
    if value == 0:
        return "0"
    for limit, digits in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < limit - 0.5 * 10**-digits:
            return f"{value:.{digits}f}"
    if abs(value) < 9999.5:
        return f"{value:.0f}"
    for limit, digits in ((100_000, 1), (1_000_000, 0)):
        if abs(value) < limit - 500 * 10**-digits:
            return f"{value / 1000:.{digits}f}k"
    return f"{value / 1e6:.1f}M"


def p_text(p_value: float) -> str:
    """A p value with two significant digits, as the statistics writes it: 0.032, <0.0001."""
    if p_value < 0.0001:
        return "<0.0001"
    return f"{p_value:.4f}" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def points(value: float) -> str:
    """A difference of rates in points with its sign: +12.5."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def folded(name: str, width: int) -> str:
    """``name`` on as many lines as it needs, broken only after ``_``, ``:``, ``/`` or at a space."""
    lines = [""]
    for piece in re.findall(r"[^_:/ ]+[_:/ ]?", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
