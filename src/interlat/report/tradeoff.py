"""Success against latency: what a shorter message costs, and what it saves."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from interlat.errors import InputError
from interlat.evaluation.latency import PHASES
from interlat.evaluation.statistics import Interval, mean_interval, median_interval, wilson_interval
from interlat.report.figures import Point, cost_figure, save_figure
from interlat.report.summary import Record
from interlat.report.table import Column, compact_number, rich_table

_HEADS = ("sender\nprefill", "\nthinks", "\nadapts", "receiver\nprefill", "first\naction")


@dataclass(frozen=True)
class Latency:
    """One variant's way from the sender's prompt to the receiver's first action."""

    variant: str
    total: Interval
    """Median seconds over all measurements, with its interval."""
    phases: Mapping[str, float]
    """Phase -> its median seconds."""
    message_bytes: float
    measurements: int


def latencies(records: Sequence[Record]) -> list[Latency]:
    """The variants of some measurements, in their order. Raises InputError: no measurements."""
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
            measurements=len(of),
        )
        for variant, of in by_variant.items()
    ]


def latency_table(found: Sequence[Latency]) -> Table:
    """Milliseconds of every phase, for a terminal of 80 columns."""

    def phase_column(head: str, phase: str) -> Column[Latency]:
        return Column(head, lambda one: _milliseconds(one.phases[phase]))

    columns: list[Column[Latency]] = [
        Column("\nvariant", lambda one: one.variant, left=True),
        *(phase_column(head, phase) for head, phase in zip(_HEADS, PHASES, strict=True)),
        Column("\ntotal", lambda one: _milliseconds(one.total.estimate)),
        Column("\n95 %", lambda one: f"{_milliseconds(one.total.low)}-{_milliseconds(one.total.high)}"),
        Column("\nbytes", lambda one: compact_number(one.message_bytes)),
    ]
    return rich_table(columns, {"": found}, title="latency of one message, milliseconds (medians)")


def _milliseconds(seconds: float) -> str:
    return compact_number(1000 * seconds)


def points(episodes: Sequence[Record], measurements: Sequence[Record]) -> list[Point]:
    """Success and milliseconds of the variants that were both evaluated and measured, in the order of measurement.

    An item that several trainings were evaluated on counts once, with their mean.

    Raises:
        InputError: there is none.
    """
    made = []
    for one in latencies(measurements):
        items: dict[tuple[str, str], list[bool]] = {}
        for record in episodes:
            if record["variant"] == one.variant:
                items.setdefault((record.get("split", ""), record["item"]), []).append(bool(record["success"]))
        if items:
            cost = Interval(1000 * one.total.estimate, 1000 * one.total.low, 1000 * one.total.high)
            made.append(Point(one.variant, _success(list(items.values())), cost))
    if not made:
        raise InputError(
            "no variant was both played and measured; give an evaluation and measurements of the same variants"
        )
    return made


def _success(items: Sequence[Sequence[bool]]) -> Interval:
    if all(len(item) == 1 for item in items):
        return wilson_interval(sum(item[0] for item in items), len(items))
    return mean_interval([statistics.fmean(item) for item in items])


def plot_tradeoff(episodes: Sequence[Record], measurements: Sequence[Record], directory: str | Path) -> list[Path]:
    """Draw ``tradeoff.png`` and ``.svg``: success over milliseconds, both with 95 % intervals.

    Messages of several lengths from one kind of sender are joined by a line.
    """
    label = "milliseconds from the sender's prompt to the receiver's first action"
    return save_figure(cost_figure(points(episodes, measurements), "games won, %", label), directory, "tradeoff")
