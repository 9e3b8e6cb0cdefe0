"""Success against latency: what a shorter message costs, and what it saves."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from rich.table import Table

from interlat.errors import InputError
from interlat.evaluation.latency import PHASES
from interlat.evaluation.statistics import Interval, mean_interval, median_interval, wilson_interval
from interlat.files import write_atomically
from interlat.report.figures import INK, SERIES_COLOURS, SERIES_MARKS, STYLE, png_of, svg_of
from interlat.report.table import compact_number, plain_table

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Latency:
    """One variant's way from the sender's prompt to the receiver's first action."""

    variant: str
    total: Interval
    """Median seconds over all measurements, with its interval."""
    phases: Mapping[str, float]
    """Phase -> its median seconds."""
    message_bytes: float
    message_rows: float
    measurements: int


@dataclass(frozen=True)
class Point:
    """A variant whose success and latency are both known."""

    variant: str
    success: Interval
    seconds: Interval


def latencies(records: Sequence[Record]) -> list[Latency]:
    """The variants of some measurements, in their order.

    Raises:
        InputError: no measurements.
    """
    if not records:
        raise InputError("there are no measurements; make them with `interlat evaluate latency`")
    by_variant: dict[str, list[Record]] = {}
    for record in records:
        by_variant.setdefault(record["variant"], []).append(record)
    return [
        Latency(
            variant=variant,
            total=median_interval([record["seconds"] for record in of]),
            phases={phase: statistics.median(record[f"{phase}_seconds"] for record in of) for phase in PHASES},
            message_bytes=statistics.fmean(record["message_bytes"] for record in of),
            message_rows=statistics.fmean(record["message_rows"] for record in of),
            measurements=len(of),
        )
        for variant, of in by_variant.items()
    ]


def latency_table(found: Sequence[Latency]) -> Table:
    """Milliseconds of every phase, for a terminal of 80 columns."""
    table = plain_table()
    table.title = "latency of one message, milliseconds (medians)"
    table.add_column("\nvariant", no_wrap=True)
    for column in ("sender\nprefill", "\nthinks", "\nadapts", "receiver\nprefill", "first\naction", "\ntotal"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("\n95 %", justify="right", no_wrap=True)
    table.add_column("\nbytes", justify="right", no_wrap=True)
    for one in found:
        phases = [compact_number(1000 * one.phases[phase]) for phase in PHASES]
        total = one.total
        middle, low, high = (compact_number(1000 * value) for value in (total.estimate, total.low, total.high))
        table.add_row(one.variant, *phases, middle, f"{low}-{high}", compact_number(one.message_bytes))
    return table


def points(episodes: Sequence[Record], measurements: Sequence[Record]) -> list[Point]:
    """The variants that were both played and measured, in the order of the measurements.

    A game that several trainings played counts once, with their mean.

    Raises:
        InputError: there is none.
    """
    made = []
    for one in latencies(measurements):
        games: dict[tuple[str, str], list[bool]] = {}
        for record in episodes:
            if record["variant"] == one.variant:
                games.setdefault((record["split"], record["item"]), []).append(bool(record["success"]))
        if games:
            made.append(Point(one.variant, _success(list(games.values())), one.total))
    if not made:
        raise InputError(
            "no variant was both played and measured; give an evaluation and measurements of the same variants"
        )
    return made


def _success(games: Sequence[Sequence[bool]]) -> Interval:
    if all(len(game) == 1 for game in games):
        return wilson_interval(sum(game[0] for game in games), len(games))
    return mean_interval([statistics.fmean(game) for game in games])


def plot_tradeoff(episodes: Sequence[Record], measurements: Sequence[Record], directory: str | Path) -> list[Path]:
    """Draw ``tradeoff.png`` and ``.svg``: success over seconds, both with 95 % intervals.

    Messages of several lengths from one kind of sender are joined by a line.
    """
    found = points(episodes, measurements)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.add_subplot()
        kinds = list(dict.fromkeys(point.variant.partition(":")[0] for point in found))
        for number, kind in enumerate(kinds):
            of = [point for point in found if point.variant.partition(":")[0] == kind]
            place = number % len(SERIES_MARKS)
            _series(axes, kind, of, SERIES_COLOURS[place], SERIES_MARKS[place])
        axes.set_xscale("log")
        # Plain numbers, several within a factor of ten: a figure often spans no power of ten at all.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("milliseconds from the sender's prompt to the receiver's first action")
        axes.set_ylabel("games won, %")
        axes.grid(visible=True, which="major", alpha=0.25, color=INK)
        axes.legend(frameon=False, loc="best")
        paths = [Path(directory) / f"tradeoff.{form}" for form in ("png", "svg")]
        write_atomically(paths[0], png_of(figure))
        write_atomically(paths[1], svg_of(figure))
    return paths


def _series(axes: Axes, kind: str, of: Sequence[Point], colour: str, mark: str) -> None:
    x, spread_x = _with_spread([point.seconds for point in of], 1000)
    y, spread_y = _with_spread([point.success for point in of], 100)
    axes.errorbar(x, y, xerr=spread_x, yerr=spread_y, fmt=f"{mark}-", color=colour, label=kind, capsize=2.5, lw=1.2)
    for point, left, up in zip(of, x, y, strict=True):
        length = point.variant.partition(":")[2]
        if length:
            axes.annotate(length, (left, up), xytext=(5, 5), textcoords="offset points", color=colour)


def _with_spread(intervals: Sequence[Interval], unit: float) -> tuple[list[float], list[list[float]]]:
    centres = [unit * one.estimate for one in intervals]
    below = [unit * (one.estimate - one.low) for one in intervals]
    above = [unit * (one.high - one.estimate) for one in intervals]
    return centres, [below, above]
