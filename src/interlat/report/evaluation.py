"""The report of an evaluation of any sender, receiver and environment: table, Markdown, JSON lines, figures, page."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.text import Text

from interlat.evaluation.statistics import Interval
from interlat.files import write_atomically
from interlat.report.donors import MEANINGS
from interlat.report.exports import exported_tables
from interlat.report.figures import Point, cost_figure, png_of, success_figure, svg_of
from interlat.report.page import facts_of_run, render_page
from interlat.report.reader import Inspection
from interlat.report.summary import Comparison, Record, Row, Summary, summarise
from interlat.report.table import (
    Column,
    comparison_columns,
    donor_columns,
    folded,
    markdown_table,
    mean_of,
    percent,
    rich_table,
)

ABOUT = (
    "A sender works on an item, and what it made travels to a receiver, which acts. Each row is one kind of message "
    "between them, or a control that keeps the form of a message and destroys what it says."
)
_NARROW, _WIDE = 19, 1000
_FIRST = 3
"""Columns of every table: the arm, its items and its success."""
_COSTS = {
    "tokens\nwritten": "decoded_tokens",
    "\nlatents": "latents",
    "bytes\nsent": "message_bytes",
    "\ns/item": "seconds",
}
"""Head of a column -> the field whose mean it shows."""
_MORE_COSTS = {
    "sender tokens": "sender_tokens",
    "prompt tokens": "prompt_tokens",
    "latent steps": "latent_steps",
    "passes": "forward_passes",
    "peak memory, bytes": "peak_memory_bytes",
    "distinct actions": "distinct_actions",
    "repeated actions": "repeated_actions",
    "distinct places": "distinct_places",
}


@dataclass(frozen=True)
class EvaluationReport:
    """What `report_evaluation` made."""

    summary: Summary
    table: Group
    """Rows, comparisons and notes for a terminal of 80 columns."""
    files: tuple[Path, ...]


def columns_of(rows: Sequence[Row], width: int = _WIDE) -> list[Column[Row]]:
    """The columns of a table of some rows, without those that say nothing, such as one step an item.

    ``width`` is the width of the names; the costs that a terminal has no space for come with wide names only.
    """
    columns: list[Column[Row]] = [
        Column("\narm", lambda row: Text(folded(row.variant, width), style=_style(row)), left=True),
        Column("\nitems", lambda row: str(row.items)),
        Column("success %\n95 % interval", lambda row: percent(row.success, ends=0)),
    ]
    sampled = [row.sampled for row in rows if row.sampled] if width == _WIDE else []
    if sampled:
        columns.append(Column("majority %", lambda row: percent(row.sampled.majority) if row.sampled else "-"))
        columns += [_pass_column(k) for k in sorted({k for one in sampled for k in one.pass_at})[1:]]
    if any(row.score is not None and not math.isclose(row.score.estimate, row.success.estimate) for row in rows):
        columns.append(Column("mean\nscore", lambda row: f"{row.score.estimate:.3f}" if row.score else "-"))
    if any(row.steps is not None and row.steps.high > 1 for row in rows):
        columns.append(Column("\nsteps", lambda row: f"{row.steps.estimate:.1f}" if row.steps else "-"))
    costs = _COSTS if width == _NARROW else {**_COSTS, **_MORE_COSTS}
    shown = {head: field for head, field in costs.items() if any(row.means.get(field) for row in rows)}
    return columns + [Column(head, mean_of(field)) for head, field in shown.items()]


def _pass_column(k: int) -> Column[Row]:
    def cell(row: Row) -> str:
        return percent(row.sampled.pass_at[k]) if row.sampled and k in row.sampled.pass_at else "-"

    return Column(f"pass@{k} %", cell)


def _style(row: Row) -> str:
    return "bold" if row.role == "latent" else ""


def notes(summary: Summary) -> list[str]:
    """What a reader has to know to read the tables."""
    lines = ["Success: rate with its 95 % Wilson interval. Costs: means per item."]
    if summary.comparisons:
        lines += [
            "Points: difference of success paired by item, with its 95 % bootstrap interval.",
            f"p: exact two-sided McNemar test; Holm: corrected over the tests of {_family(summary)}.",
        ]
    if summary.repeated:
        lines.append("Items were tried under several seeds: success is the mean over them, and intervals count items.")
    if any(row.sampled for row in summary.rows):
        lines.append(
            "Majority: questions whose most frequent answer is right. pass@k: one of k answers is right (arXiv "
            "2107.03374)."
        )
    lines += donor_notes(summary)
    failures = sum(row.failures for row in summary.on(summary.groups[-1]))
    if failures:
        total = sum(row.episodes for row in summary.on(summary.groups[-1]))
        lines.append(
            f"{failures} of {total} episodes had a failure, such as a text that did not fit; the records say which."
        )
    alone = list(dict.fromkeys(row.variant for row in summary.rows if not row.controlled))
    if alone:
        lines.append(f"no control: {', '.join(alone)}. A gain may not come from what the message says.")
    return lines


def donor_notes(summary: Summary) -> list[str]:
    """What a reader has to know to read the table of donors; empty where there is none."""
    if not summary.donors:
        return []
    lines = [
        "Donor: the item whose message the receiver got instead. In brackets: how often the answer is another item's, "
        "by chance. Of items where both answers would be the same, none counts."
    ]
    found = dict.fromkeys(row.verdict for row in summary.donors)
    return lines + [f"{verdict}: {MEANINGS[verdict]}." for verdict in found]


def _family(summary: Summary) -> str:
    return "this table" if len(summary.groups) == 1 else "each block"


def terminal_report(summary: Summary) -> Group:
    """Rows, comparisons and notes; fits 80 columns."""
    compared = comparison_columns("items", 26, adjusted=True)
    return shown(summary, columns_of(summary.rows, _NARROW), compared, summary.comparisons, notes(summary))


def shown(
    summary: Summary,
    columns: Sequence[Column[Row]],
    compared: Sequence[Column[Comparison]],
    comparisons: Sequence[Comparison],
    lines: Sequence[str],
) -> Group:
    """A table of all rows, of some comparisons and of donors where there are any, and notes, for a terminal."""
    parts: list[RenderableType] = [rich_table(columns, summary.by_group(summary.rows)), Text()]
    if comparisons:
        parts += [rich_table(compared, summary.by_group(comparisons)), Text()]
    if summary.donors:
        parts += [rich_table(donor_columns(), {"": summary.donors}), Text()]
    return Group(*parts, *(Text(line, style="dim") for line in lines))


def markdown_report(summary: Summary) -> str:
    """The same as Markdown with more costs, for a README."""
    tables = {group: [markdown_table(columns_of(summary.rows), summary.on(group))] for group in summary.groups}
    compared = comparison_columns("items", _WIDE, adjusted=True)
    for group, comparisons in summary.by_group(summary.comparisons).items():
        tables[group] += [markdown_table(compared, comparisons)] if comparisons else []
    parts = [part for group, of in tables.items() for part in ([f"**{group}**"] if group else []) + of]
    parts += [markdown_table(donor_columns(_WIDE), summary.donors)] if summary.donors else []
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes(summary))]) + "\n"


def json_lines(summary: Summary) -> str:
    """One JSON line a row, a comparison and a channel under donors' messages, from the same numbers as the tables."""
    found = summary.as_dict()
    rows: list[dict[str, Any]] = [{"kind": "arm", **row} for row in found["rows"]]
    rows += [{"kind": "comparison", **comparison} for comparison in found["comparisons"]]
    rows += [{"kind": "donor", **donor} for donor in found["donors"]]
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def draw_figures(summary: Summary) -> dict[str, tuple[str, Figure]]:
    """Success by arm, and success against those costs of all items together that several arms have: name -> caption and
    figure."""
    figures = {"success": ("Success, with 95 % Wilson intervals", success_figure(summary, "success, %", "items"))}
    rows = [row for row in summary.on(summary.groups[-1]) if row.role != "control"]
    costs = {"message_bytes": "bytes of a message", "latents": "latents of a message", "seconds": "seconds per item"}
    for field, label in costs.items():
        costly = [(row, row.means[field]) for row in rows if row.means.get(field)]
        if len(costly) > 1:
            points = [Point(row.variant, row.success, Interval(cost, cost, cost)) for row, cost in costly]
            figures[f"success_by_{field}"] = (
                f"Success against {label}; up and to the left is better",
                cost_figure(points, "success, %", label),
            )
    return figures


def page_columns(summary: Summary) -> list[Column[Row]]:
    """What the table of the page says of an arm behind its success: all costs, and the seconds of each phase."""
    columns = [
        dataclasses.replace(column, head=" ".join(column.head.split())) for column in columns_of(summary.rows)[_FIRST:]
    ]
    phases = dict.fromkeys(name for row in summary.rows for name in row.means if name.endswith("_seconds"))
    return columns + [
        Column(f"{phase.removesuffix('_seconds').replace('_', ' ')}, s", mean_of(phase)) for phase in phases
    ]


def report_evaluation(
    records: Sequence[Record],
    output: str | Path,
    *,
    by: str = "split",
    figures: bool = True,
    inspections: Mapping[str, Inspection] | None = None,
    title: str = "A message from one agent to another",
    about: str = ABOUT,
    command: str = "",
) -> EvaluationReport:
    """Write ``report.html``, ``summary.jsonl``, ``summary.md``, ``tables/*`` and ``figures/*.png|svg`` into ``output``.

    Each file is written atomically, and nothing is written before all of it has been made.

    Args:
        records: the results of one configuration, of this or an older version.
        output: the run directory.
        by: the field that items are grouped by: ``split``, ``task_type`` or ``level``.
        figures: whether to draw, and to make the page.
        inspections: item -> what was asked, and what its messages say; for the page.
        title: heading of the page.
        about: what was played, in a few sentences.
        command: the command that made the run.

    Raises:
        InputError: no records, records that lack a field or contradict each other.
        StorageError: the file system refused.
    """
    summary = summarise(records, by=by)
    files: dict[str, str | bytes] = {"summary.jsonl": json_lines(summary), "summary.md": markdown_report(summary)}
    files |= exported_tables(summary)
    if figures:
        drawn = draw_figures(summary)
        for name, (_, figure) in drawn.items():
            files |= {f"figures/{name}.png": png_of(figure), f"figures/{name}.svg": svg_of(figure)}
        facts, columns = facts_of_run(title, about, command), page_columns(summary)
        files["report.html"] = render_page(
            summary, records, drawn, facts, columns, notes(summary), donor_notes(summary), inspections or {}
        )
    for name, content in files.items():
        write_atomically(Path(output) / name, content)
    return EvaluationReport(summary, terminal_report(summary), tuple(Path(output) / name for name in files))
