"""The page of a run: one HTML file with tables, figures and a reader of games; no request leaves it."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from interlat.evaluation.statistics import Interval
from interlat.experiments.household.games import Inspection, grouped, pack_games
from interlat.report.evaluation import donor_notes
from interlat.report.figures import INK, STYLE, bar_figure, success_figure, svg_of
from interlat.report.summary import ALL, Comparison, Record, Row, Summary
from interlat.report.table import donor_columns, mean_of, p_text, points

LARGEST_DATA = 8_500_000
"""Bytes of embedded games; with tables and figures the page stays below 10 MB."""
_GAMES_WITHOUT_SCRIPT = 3
_UNKNOWN: Inspection = {"task": "", "evidence": "", "plan": "", "rows": []}
SIGNIFICANT = 0.01
"""Differences with a smaller p are set in colour."""


def draw_figures(summary: Summary) -> dict[str, tuple[str, Figure]]:
    """Every figure of the report by its name, with a caption."""
    success = success_figure(summary, "games won, %", "games")
    steps = "Mean steps, with 95 % bootstrap intervals; diamonds: won games only"
    return {
        "success": ("Games won, with 95 % Wilson intervals", success),
        "steps": (steps, steps_figure(summary)),
    }


@matplotlib.rc_context(STYLE)
def steps_figure(summary: Summary) -> Figure:
    """Mean steps of every variant over all games, with a 95 % bootstrap interval; a diamond over won games."""

    def mean_steps(row: Row) -> Interval:
        return row.steps or Interval(0.0, 0.0, 0.0)

    longest, label = max(mean_steps(row).high for row in summary.rows), "mean steps (diamond: won games)"
    figure = bar_figure(summary, mean_steps, "games", form="{:.1f}", label=label, longest=longest)
    for axes, split in zip(figure.axes, summary.groups, strict=True):
        for place, row in enumerate(summary.on(split)):
            if row.steps_won is not None:
                axes.plot(row.steps_won, place, "D", color="white", markeredgecolor=INK, markersize=5.5)
        axes.set_xlim(0, 1.22 * longest)
    return figure


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
    notes: Sequence[str],
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
        loader=PackageLoader("interlat.experiments.household", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": points, "p_text": p_text, "verdict": verdict}
    environment.filters |= {"mean": lambda row, field: mean_of(field)(row), "uncontrolled": is_uncontrolled}
    data, embedded = pack_games(records, inspections, data_limit)
    games, about_donors = grouped(records), donor_notes(summary)
    return environment.get_template("report.html").render(
        facts=facts,
        summary=summary,
        notes=[note for note in notes if note not in about_donors],
        donor_columns=donor_columns(),
        donor_notes=about_donors,
        uncontrolled=any(map(is_uncontrolled, summary.rows)),
        headlines={split: headline(summary, split) for split in summary.groups if split != ALL},
        figures=[(caption, _inline_svg(caption, figure)) for caption, figure in figures.values()],
        significant=SIGNIFICANT,
        examples=[(_shown(game), inspections.get(game[0]["item"], _UNKNOWN)) for game in games[:_GAMES_WITHOUT_SCRIPT]],
        games=len(games),
        embedded=embedded,
        data=Markup(data),
    )


def _shown(game: Sequence[Record]) -> Record:
    """The episode of a game that stands in the page for readers without JavaScript: hidden states if there are."""
    return max(game, key=lambda record: record["message_kind"] in ("hidden", "cache"))
