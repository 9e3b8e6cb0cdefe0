"""Figures of an evaluation, in the one style of all pictures: bars by arm, and success against costs."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

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
class Point:
    """An arm in a plane of success and cost."""

    name: str
    """Points of one kind, the part of the name before a colon, are joined by a line."""
    success: Interval
    cost: Interval


def tidy(axes: Axes, grid: Any = "both", hidden: Sequence[str] = ("top", "right")) -> Axes:
    """A faint grid behind what is drawn, and no more frame than needed."""
    axes.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[list(hidden)].set_visible(False)
    return axes


@matplotlib.rc_context(STYLE)
def bar_figure(
    summary: Summary, value: Callable[[Row], Interval], items: str, *, form: str, label: str, longest: float
) -> Figure:
    """A value of every arm with its interval, one panel a group.

    Args:
        summary: of which the arms are drawn; they are named once where all groups have the same ones.
        value: row -> what its bar shows.
        items: what the items are called, in the title of a panel.
        form: how the value is written beside its bar.
        label: of the axis.
        longest: where a full bar ends.
    """
    groups, first = summary.groups, [row.variant for row in summary.on(summary.groups[0])]
    width = 0.085 * max(map(len, summary.variants)) + 3.1 * len(groups) + 0.4
    figure = Figure(figsize=(width, 0.36 * len(summary.variants) + 1.15), layout="constrained")
    panels = figure.subplots(1, len(groups), sharex=True, squeeze=False)[0]
    for number, (axes, group) in enumerate(zip(panels, groups, strict=True)):
        rows = summary.on(group)
        for place, row in enumerate(rows):
            _bar(axes, place, row, value(row), form, longest)
        axes.set_yticks(range(len(rows)), [row.variant for row in rows])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0, labelleft=not number or [row.variant for row in rows] != first)
        tidy(axes, "x", ("top", "right", "left"))
        axes.set_xlabel(label)
        fewest, most = min(row.items for row in rows), max(row.items for row in rows)
        counted = f"{most} {items}" if fewest == most else f"{fewest} to {most} {items}"
        axes.set_title(f"{group}, {counted}" if group else counted, fontsize=10.5, loc="left")
    return figure


def _bar(axes: Axes, place: int, row: Row, interval: Interval, form: str, longest: float) -> None:
    colour, control = ROLE_COLOURS[row.role], row.role == "control"
    look: Any = {"alpha": 0.55, "hatch": "////"} if control else {}
    axes.barh(place, interval.estimate, height=0.66, color=colour, edgecolor=colour, linewidth=0.8, **look)
    _, spread = _spread([interval])
    axes.errorbar(interval.estimate, place, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.3, capsize=3.5)
    axes.text(interval.high + 0.025 * longest, place, form.format(interval.estimate), va="center")


@matplotlib.rc_context(STYLE)
def success_figure(summary: Summary, label: str, items: str) -> Figure:
    """Success rate of every arm in percent, with its 95 % Wilson interval."""
    figure = bar_figure(
        summary, lambda row: _scaled(row.success, 100), items, form="{:.0f}", label=label, longest=100.0
    )
    for axes in figure.axes:
        axes.set(xlim=(0, 113), xticks=range(0, 101, 25))
    return figure


@matplotlib.rc_context(STYLE)
def cost_figure(points: Sequence[Point], success: str, cost: str) -> Figure:
    """Success in percent against a cost, both with their intervals, over a logarithmic axis."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(point.name.partition(":")[0] for point in points))
    for number, kind in enumerate(kinds):
        of = [point for point in points if point.name.partition(":")[0] == kind]
        colour, mark = (looks[number % len(SERIES_MARKS)] for looks in (SERIES_COLOURS, SERIES_MARKS))
        x, spread_x = _spread([point.cost for point in of])
        y, spread_y = _spread([_scaled(point.success, 100) for point in of])
        known = spread_x if any(map(any, spread_x)) else None
        axes.errorbar(x, y, xerr=known, yerr=spread_y, fmt=f"{mark}-", color=colour, label=kind, capsize=2.5, lw=1.2)
        for point, left, up in zip(of, x, y, strict=True):
            length = point.name.partition(":")[2]
            if length:
                axes.annotate(length, (left, up), xytext=(5, 5), textcoords="offset points", color=colour)
    axes.set_xscale("log")
    # Plain numbers, several within a factor of ten where the costs span hardly one, and fewer where they would touch.
    lowest, highest = (edge(point.cost.estimate for point in points) for edge in (min, max))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if highest < 20 * lowest else (1, 3)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(cost)
    axes.set_ylabel(success)
    axes.grid(visible=True, which="major", alpha=0.25, color=INK)
    axes.legend(frameon=False, loc="best")
    return figure


def _scaled(interval: Interval, unit: float) -> Interval:
    return Interval(unit * interval.estimate, unit * interval.low, unit * interval.high)


def _spread(intervals: Sequence[Interval]) -> tuple[list[float], list[list[float]]]:
    below = [one.estimate - one.low for one in intervals]
    return [one.estimate for one in intervals], [below, [one.high - one.estimate for one in intervals]]


@matplotlib.rc_context(STYLE)
def png_of(figure: Figure) -> bytes:
    """A figure as a PNG on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    return buffer.getvalue()


@matplotlib.rc_context(STYLE)
def svg_of(figure: Figure, transparent: bool = False) -> str:
    """A figure as an SVG file, on white or transparent."""
    buffer = io.BytesIO()
    # No date and fixed ids: the same records give the same file.
    figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue().decode()


def save_figure(figure: Figure, directory: str | Path, name: str) -> list[Path]:
    """Write ``name.png`` and ``name.svg``, each atomically, and give their paths.

    Raises:
        StorageError: the file system refused.
    """
    paths = [Path(directory) / f"{name}.{form}" for form in ("png", "svg")]
    write_atomically(paths[0], png_of(figure))
    write_atomically(paths[1], svg_of(figure))
    return paths
