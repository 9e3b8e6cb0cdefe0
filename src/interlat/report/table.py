"""The summary of a run as tables: for a terminal of 80 columns, and as Markdown."""

import re
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from interlat.report.summary import Comparison, Row, Summary

_NAME_WIDTH = 17
_PAIR_WIDTH = 34
UNCONTROLLED_NOTE = "Uncontrolled: no control was played, so a gain may not come from what the message says."


def row_name(row: Row) -> str:
    """The variant, with a label if nothing controls its result."""
    return row.variant if row.controlled else f"{row.variant} (uncontrolled)"


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


def _folded(name: str, width: int) -> str:
    """``name`` on as many lines as it needs, broken only after ``_``, ``:`` or at a space."""
    lines = [""]
    for piece in re.findall(r"[^_: ]+[_: ]?", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def plain_table() -> Table:
    """An empty table in the style of all summaries."""
    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="bold")


def rich_summary(summary: Summary) -> Table:
    """One line a variant, a block a split."""
    table = plain_table()
    table.add_column("\nvariant", no_wrap=True)
    columns = ("\ngames", "success %\n95 % interval", "steps\nall", "steps\nwon")
    costs = ("scout\ns/game", "actor\ns/game", "bytes\nsent", "actor\ntokens")
    for name in (*columns, *costs):
        table.add_column(name, justify="right", no_wrap=True)
    for split in summary.splits:
        table.add_row(Text(split, style="bold cyan"))
        for row in summary.on(split):
            rate = row.success
            table.add_row(
                Text(_folded(row_name(row), _NAME_WIDTH), style="bold" if row.role == "latent" else ""),
                str(row.games),
                f"{100 * rate.estimate:.1f} [{100 * rate.low:.0f},{100 * rate.high:.0f}]",
                f"{row.steps.estimate:.1f}",
                "-" if row.steps_won is None else f"{row.steps_won:.1f}",
                compact_number(row.sender_seconds),
                compact_number(row.receiver_seconds),
                compact_number(row.message_bytes),
                compact_number(row.decoded_tokens),
            )
        if split != summary.splits[-1]:
            table.add_row()
    return table


def rich_comparisons(summary: Summary) -> Table:
    """The paired comparisons of channels with each other and of latents with controls."""
    table = plain_table()
    table.add_column("first - second", no_wrap=True)
    for name in ("games", "points", "95 % interval", "p (McNemar)"):
        table.add_column(name, justify="right", no_wrap=True)
    for split in summary.splits:
        table.add_row(Text(split, style="bold cyan"))
        for comparison in summary.comparisons:
            if comparison.split == split and comparison.about != "floor":
                pair = f"{comparison.first} - {comparison.second}"
                table.add_row(Text(_folded(pair, _PAIR_WIDTH)), *map(Text, _comparison_cells(comparison)))
        if split != summary.splits[-1]:
            table.add_row()
    return table


def _comparison_cells(comparison: Comparison) -> tuple[str, str, str, str]:
    difference = comparison.difference
    return (
        str(comparison.games),
        points(difference.estimate),
        f"[{points(difference.low)}, {points(difference.high)}]",
        p_text(comparison.test.p_value),
    )


def step_cap(summary: Summary) -> str:
    """The step cap of the games, or its range."""
    caps = summary.step_caps
    return str(caps[0]) if len(caps) == 1 else f"{caps[0]} to {caps[-1]}"


def notes(summary: Summary) -> list[str]:
    """What a reader has to know to read the tables."""
    lines = [
        f"Success: won, as the engine says, within {step_cap(summary)} steps; 95 % Wilson interval.",
        "Points: difference of success paired by game; 95 % bootstrap interval.",
        "p: exact two-sided McNemar test, not corrected for the number of tests.",
    ]
    if summary.repeated:
        lines.append("Games were played under several seeds: Wilson intervals take episodes as independent.")
    if summary.uncontrolled:
        lines.append(UNCONTROLLED_NOTE)
    return lines


def terminal_report(summary: Summary) -> Group:
    """Summary, comparisons and notes; fits 80 columns."""
    lines = [Text(line, style="dim") for line in notes(summary)]
    parts: list[RenderableType] = [rich_summary(summary), Text()]
    if any(comparison.about != "floor" for comparison in summary.comparisons):
        parts += [rich_comparisons(summary), Text()]
    return Group(*parts, *lines)


def markdown_report(summary: Summary) -> str:
    """The same as Markdown, with all columns and all comparisons; for a README."""
    header = (
        *("variant", "games", "success % [95 % interval]", "steps [95 % interval]", "steps won"),
        *("scout s", "actor s", "bytes", "rows", "scout tokens", "actor tokens"),
    )
    parts = []
    for split in summary.splits:
        lines = [f"**{split}**", "", markdown_line(header), markdown_line(["---", *["---:"] * (len(header) - 1)])]
        for row in summary.on(split):
            rate, steps = row.success, row.steps
            cells = (
                f"`{row.variant}`" + ("" if row.controlled else " *uncontrolled*"),
                str(row.games),
                f"{100 * rate.estimate:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]",
                f"{steps.estimate:.2f} [{steps.low:.2f}, {steps.high:.2f}]",
                "-" if row.steps_won is None else f"{row.steps_won:.2f}",
                *(compact_number(value) for value in (row.sender_seconds, row.receiver_seconds)),
                *(compact_number(value) for value in (row.message_bytes, row.message_rows)),
                *(compact_number(value) for value in (row.sender_tokens, row.decoded_tokens)),
            )
            lines.append(markdown_line(cells))
        parts.append("\n".join(lines))
    lines = [
        markdown_line(("split", "first - second", "games", "points", "95 % interval", "p (McNemar)")),
        markdown_line(("---", "---", "---:", "---:", "---:", "---:")),
    ]
    lines += [
        markdown_line((item.split, f"`{item.first}` - `{item.second}`", *_comparison_cells(item)))
        for item in summary.comparisons
    ]
    if summary.comparisons:
        parts.append("\n".join(lines))
    parts.append("\n".join(notes(summary)))
    return "\n\n".join(parts) + "\n"


def markdown_line(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
