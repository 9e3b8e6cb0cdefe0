"""The page of a run: one HTML file with tables, figures and a reader of its items; no request leaves it."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from interlat.report.figures import INK, svg_of
from interlat.report.reader import ANY_CHANNEL, Inspection, Wording, grouped, pack_items, rows_by_channel
from interlat.report.summary import Comparison, Record, Row, Summary
from interlat.report.table import Column, donor_columns, p_text, points

LARGEST_DATA = 4_000_000
"""Bytes of embedded items; with tables and figures the page stays below 5 MB."""
_ITEMS_WITHOUT_SCRIPT = 3
_UNKNOWN: Inspection = {"task": "", "evidence": "", "plan": "", "answer": ""}
SIGNIFICANT = 0.01
"""Differences with a smaller p are set in colour."""


def _inline_svg(caption: str, figure: Figure) -> Markup:
    """For the page: transparent, ink in the colour of the text around it, with a description for screen readers."""
    svg = svg_of(figure, transparent=True)
    body = svg[svg.index("<svg") :]
    end = body.index(">")
    inline = f'{body[:end]} role="img" aria-label="{caption}. The numbers stand in the table."{body[end:]}'
    return Markup(inline.replace(INK, "currentColor"))


def facts_of_run(title: str, about: str, command: str) -> dict[str, str]:
    """What the header of the page says about a run: these three, this machine and the present minute."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    versions = f"Python {platform.python_version()}, torch {importlib.metadata.version('torch')}"
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"title": title, "about": about, "command": command, "machine": f"{system}, {versions}", "date": date}


def is_uncontrolled(row: Row) -> bool:
    """Whether a latent variant has no control on this split. A text needs none: one can read what it says."""
    return row.role == "latent" and not row.controlled


def headline(summary: Summary, split: str) -> list[Row]:
    """The rows that tell the story of a split: no message, the first text, the first latent variant."""
    rows = summary.on(split)
    chosen = (next((row for row in rows if row.role == role), None) for role in ("none", "text", "latent"))
    return [row for row in chosen if row is not None]


def verdict(comparison: Comparison) -> str:
    """``"better"``, ``"worse"`` or ``"unclear"`` (p not below `SIGNIFICANT`)."""
    if comparison.test.p_value >= SIGNIFICANT:
        return "unclear"
    return "better" if comparison.difference.estimate > 0 else "worse"


def render_page(
    summary: Summary,
    records: Sequence[Record],
    figures: Mapping[str, tuple[str, Figure]],
    facts: Mapping[str, str],
    columns: Sequence[Column[Row]],
    notes: Sequence[str],
    about_donors: Sequence[str],
    inspections: Mapping[str, Inspection],
    wording: Wording = Wording(),  # noqa: B008  # frozen
    data_limit: int = LARGEST_DATA,
) -> str:
    """The HTML of the page.

    Every text is escaped: by the template where it stands in the page, by `pack_items` where it is data, and the
    script puts texts into the page as texts only. Where the items do not fit into ``data_limit`` bytes, an even
    selection is embedded and the page says so.

    Args:
        summary: the numbers.
        records: every episode.
        figures: name -> caption and figure.
        facts: see `facts_of_run`.
        columns: what the table says of an arm behind its success.
        notes: what a reader has to know, below that table.
        about_donors: the same, below the table of donors.
        inspections: item -> what is known about it.
        wording: what the page calls things.
        data_limit: bytes.

    Raises:
        InputError: an inspection holds a number that is not finite.
    """
    environment = Environment(
        loader=PackageLoader("interlat.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": points, "p_text": p_text, "verdict": verdict, "uncontrolled": is_uncontrolled}
    told = [record for record in records if "turns" in record]
    data, embedded = pack_items(told, inspections, data_limit, wording) if told else ("", 0)
    items = grouped(told)
    return environment.get_template("report.html").render(
        facts=facts,
        summary=summary,
        words=wording,
        columns=columns,
        notes=[note for note in notes if note not in about_donors],
        donor_columns=donor_columns(),
        donor_notes=about_donors,
        uncontrolled=any(map(is_uncontrolled, summary.rows)),
        headlines={split: headline(summary, split) for split in summary.groups},
        figures=[(caption, _inline_svg(caption, figure)) for caption, figure in figures.values()],
        significant=SIGNIFICANT,
        examples=[_example(item, inspections) for item in items[:_ITEMS_WITHOUT_SCRIPT]],
        items=len(items),
        embedded=embedded,
        data=Markup(data),
    )


def _example(item: Sequence[Record], inspections: Mapping[str, Inspection]) -> tuple[Record, Inspection, Sequence[Any]]:
    """An episode of an item for readers without JavaScript, of hidden states if there are, and what is known of it."""
    record = max(item, key=lambda one: one["message_kind"] in ("hidden", "cache"))
    inspection = {**_UNKNOWN, **inspections.get(record["item"], {})}
    rows = rows_by_channel(inspection)
    return {"plan": "", **record}, inspection, rows.get(record.get("channel", ANY_CHANNEL), rows.get(ANY_CHANNEL, ()))
