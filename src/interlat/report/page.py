"""The page of a run: one HTML file with tables, figures and a reader of games; no request leaves it."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from interlat.report.figures import FigureFiles
from interlat.report.games import Inspection, grouped, pack_games
from interlat.report.summary import ALL_SPLITS, Comparison, Record, Row, Summary
from interlat.report.table import compact_number, notes, p_text, points, row_name

LARGEST_DATA = 8_500_000
"""Bytes of embedded games; with tables and figures the page stays below 10 MB."""
_GAMES_WITHOUT_SCRIPT = 3
_UNKNOWN: Inspection = {"task": "", "evidence": "", "plan": "", "rows": []}
SIGNIFICANT = 0.01
"""Differences with a smaller p are set in colour."""


@dataclass(frozen=True)
class Facts:
    """What the header of the page says about a run."""

    title: str
    about: str
    command: str
    machine: str
    date: str


def this_machine() -> str:
    """The machine that runs this process, in words."""
    torch = importlib.metadata.version("torch")
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch}"
    )


def now() -> str:
    """The present minute, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


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
    figures: Sequence[FigureFiles],
    facts: Facts,
    inspections: Mapping[str, Inspection],
    data_limit: int = LARGEST_DATA,
) -> str:
    """The HTML of the page.

    Every text is escaped: by the template where it stands in the page, by `pack_games` where it is data, and the
    script puts texts into the page as texts only. Where the games do not fit into ``data_limit`` bytes, an even
    selection is embedded and the page says so.

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
    environment.filters |= {"compact": compact_number, "points": points, "p_text": p_text, "row_name": row_name}
    environment.filters |= {"verdict": verdict}
    data, embedded = pack_games(records, inspections, data_limit)
    games = grouped(records)
    return environment.get_template("report.html").render(
        facts=facts,
        summary=summary,
        notes=notes(summary),
        headlines={split: headline(summary, split) for split in summary.splits if split != ALL_SPLITS},
        figures=[(figure.caption, Markup(figure.inline_svg)) for figure in figures],
        significant=SIGNIFICANT,
        examples=[(_shown(game), inspections.get(game[0]["item"], _UNKNOWN)) for game in games[:_GAMES_WITHOUT_SCRIPT]],
        games=len(games),
        embedded=embedded,
        data=Markup(data),
    )


def _shown(game: Sequence[Record]) -> Record:
    """The episode of a game that stands in the page for readers without JavaScript: hidden states if there are."""
    return max(game, key=lambda record: record["message_kind"] in ("hidden", "cache"))
