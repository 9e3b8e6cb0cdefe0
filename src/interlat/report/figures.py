"""Figures of a run: success and steps by variant, one panel a split."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interlat.evaluation.statistics import Interval
from interlat.files import write_atomically
from interlat.report.summary import Row, Summary

# From the palette of Okabe and Ito, distinct to colour-blind readers and in grey.
ROLE_COLOURS = {"none": "#8c8c8c", "text": "#0072B2", "latent": "#D55E00", "control": "#CC79A7"}
# That palette and two of Tol's; the marks tell them apart without colour.
SERIES_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"),
    *("#56B4E9", "#882255", "#117733", "#332288", "#AA8E39"),
)
SERIES_MARKS = "os^DvPXp<>"
_ROLE_HATCHES = {"control": "////"}
# Nearly black on paper; on the page it becomes the colour of the text around the figure.
INK = "#010203"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "interlat",
    "svg.fonttype": "path",
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    **dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "axes.titlecolor"), INK),
}


@dataclass(frozen=True)
class FigureFiles:
    """One figure in every form that a report needs."""

    name: str
    caption: str
    png: bytes
    svg: str
    """A file of its own, on white."""
    inline_svg: str
    """For a page: transparent, ink in the colour of the text around it, with a description for screen readers."""


def _bars(axes: Axes, rows: list[Row], value: Callable[[Row], Interval], form: str, longest: float) -> None:
    for place, row in enumerate(rows):
        interval = value(row)
        axes.barh(
            place,
            interval.estimate,
            height=0.66,
            color=ROLE_COLOURS[row.role],
            alpha=0.55 if row.role == "control" else 1.0,
            hatch=_ROLE_HATCHES.get(row.role),
            edgecolor=ROLE_COLOURS[row.role],
            linewidth=0.8,
        )
        spread = [[interval.estimate - interval.low], [interval.high - interval.estimate]]
        axes.errorbar(interval.estimate, place, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.3, capsize=3.5)
        axes.text(interval.high + 0.025 * longest, place, form.format(interval.estimate), va="center")
    axes.set_yticks(range(len(rows)), [row.variant for row in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _panels(summary: Summary, draw: Callable[[Axes, list[Row]], None]) -> Figure:
    count, longest = len(summary.variants), max(map(len, summary.variants))
    width = 0.085 * longest + 3.1 * len(summary.splits) + 0.4
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 0.36 * count + 1.15), layout="constrained")
        panels = figure.subplots(1, len(summary.splits), sharex=True, squeeze=False)[0]
        for number, (axes, split) in enumerate(zip(panels, summary.splits, strict=True)):
            rows = summary.on(split)
            draw(axes, rows)
            fewest, most = min(row.games for row in rows), max(row.games for row in rows)
            games = str(most) if fewest == most else f"{fewest} to {most}"
            axes.set_title(f"{split}, {games} games", fontsize=10.5, loc="left")
            if number and rows_match(summary, split):
                axes.tick_params(labelleft=False)
    return figure


def rows_match(summary: Summary, split: str) -> bool:
    """Whether a split has the variants of the first one in the same order, so that one set of labels does."""
    return [row.variant for row in summary.on(split)] == [row.variant for row in summary.on(summary.splits[0])]


def success_figure(summary: Summary) -> Figure:
    """Success rate of every variant with its 95 % Wilson interval."""

    def percent(row: Row) -> Interval:
        rate = row.success
        return Interval(100 * rate.estimate, 100 * rate.low, 100 * rate.high)

    def draw(axes: Axes, rows: list[Row]) -> None:
        _bars(axes, rows, percent, "{:.0f}", 100)
        axes.set_xlim(0, 113)
        axes.set_xticks(range(0, 101, 25))
        axes.set_xlabel("games won, %")

    return _panels(summary, draw)


def steps_figure(summary: Summary) -> Figure:
    """Mean steps of every variant over all games, with a 95 % bootstrap interval; a diamond over won games."""
    longest = max(row.steps.high for row in summary.rows)

    def draw(axes: Axes, rows: list[Row]) -> None:
        _bars(axes, rows, lambda row: row.steps, "{:.1f}", longest)
        for place, row in enumerate(rows):
            if row.steps_won is not None:
                axes.plot(row.steps_won, place, "D", color="white", markeredgecolor=INK, markersize=5.5)
        axes.set_xlim(0, 1.22 * longest)
        axes.set_xlabel("mean steps (diamond: won games)")

    return _panels(summary, draw)


def png_of(figure: Figure) -> bytes:
    """A figure as a PNG on white."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    return buffer.getvalue()


def svg_of(figure: Figure, transparent: bool = False) -> str:
    """A figure as an SVG file, on white or transparent."""
    buffer = io.BytesIO()
    # No date and fixed ids: the same records give the same file.
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue().decode()


def _inline(svg: str, description: str) -> str:
    body = svg[svg.index("<svg") :]
    end = body.index(">")
    opening = f'{body[:end]} role="img" aria-label="{description}"'
    return (opening + body[end:]).replace(INK, "currentColor")


def make_figures(summary: Summary) -> list[FigureFiles]:
    """Every figure of the report."""
    plans = [
        ("success", "Games won, with 95 % Wilson intervals", success_figure),
        ("steps", "Mean steps, with 95 % bootstrap intervals; diamonds: won games only", steps_figure),
    ]
    files = []
    for name, caption, make in plans:
        with matplotlib.rc_context(STYLE):
            figure = make(summary)
        inline = _inline(svg_of(figure, transparent=True), f"{caption}. The numbers stand in the table.")
        files.append(FigureFiles(name, caption, png_of(figure), svg_of(figure), inline))
    return files


def write_figures(figures: list[FigureFiles], directory: Path) -> None:
    """Write every figure as PNG and SVG, each atomically.

    Raises:
        StorageError: the file system refused.
    """
    for figure in figures:
        write_atomically(directory / f"{figure.name}.png", figure.png)
        write_atomically(directory / f"{figure.name}.svg", figure.svg)
