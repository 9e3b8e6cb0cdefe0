"""The summary of a run of teams: what each variant got right, what it cost, and what the differences are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from interlat.evaluation.statistics import (
    Interval,
    PairedTest,
    mcnemar_exact,
    paired_difference,
    wilson_interval,
)
from interlat.evaluation.teams import CONTROLS
from interlat.report.table import UNCONTROLLED_NOTE, compact_number, p_text, plain_table, points

COSTS = ("decoded_tokens", "latent_steps", "forward_passes", "message_bytes", "seconds")
"""Means of these stand in the table."""


@dataclass(frozen=True)
class TeamRow:
    """One variant."""

    variant: str
    items: int
    success: Interval
    failures: int
    """Items that could not be finished; they count as wrong."""
    costs: Mapping[str, float]
    """Mean of each of `COSTS`."""


@dataclass(frozen=True)
class TeamComparison:
    """Two variants on the questions that both answered."""

    first: str
    second: str
    items: int
    difference: Interval
    test: PairedTest


def team_rows(records: Sequence[Mapping[str, Any]]) -> list[TeamRow]:
    """One row a variant, in the order of the records."""
    rows = []
    for variant in dict.fromkeys(record["variant"] for record in records):
        own = [record for record in records if record["variant"] == variant]
        rows.append(
            TeamRow(
                variant,
                len(own),
                wilson_interval(sum(record["success"] for record in own), len(own)),
                sum(bool(record["failure"]) for record in own),
                {name: sum(record[name] for record in own) / len(own) for name in COSTS},
            )
        )
    return rows


def team_comparisons(records: Sequence[Mapping[str, Any]]) -> list[TeamComparison]:
    """The team that thinks against everything else, and the team that writes against one agent, where they were run."""
    variants = list(dict.fromkeys(record["variant"] for record in records))
    thinking = next((name for name in ("latent", "team") if name in variants), None)
    pairs = [(thinking, other) for other in variants if thinking is not None and other != thinking]
    pairs += [("text", "single")] if {"text", "single"} <= set(variants) else []
    success = {(record["variant"], record["item"]): float(record["success"]) for record in records}
    compared = []
    for first, second in pairs:
        items = sorted(item for variant, item in success if variant == first and (second, item) in success)
        if items:
            ours, theirs = ([success[name, item] for item in items] for name in (first, second))
            difference, test = paired_difference(ours, theirs), mcnemar_exact(ours, theirs)
            compared.append(TeamComparison(str(first), second, len(items), difference, test))
    return compared


def team_tables(records: Sequence[Mapping[str, Any]]) -> Group:
    """Both as tables for a terminal of 80 columns."""
    table = plain_table()
    table.add_column("\nvariant", no_wrap=True)
    heads = ("\nitems", "correct %\n95 % interval", "tokens\nwritten", "latent\nsteps", "\npasses", "bytes\nsent")
    for head in (*heads, "\ns/item"):
        table.add_column(head, justify="right", no_wrap=True)
    rows = team_rows(records)
    for row in rows:
        rate = row.success
        table.add_row(
            row.variant,
            str(row.items),
            f"{100 * rate.estimate:.1f} [{100 * rate.low:.0f},{100 * rate.high:.0f}]",
            *(compact_number(row.costs[name]) for name in COSTS),
        )
    notes = []
    failures = sum(row.failures for row in rows)
    if failures:
        total = sum(row.items for row in rows)
        notes.append(f"{failures} of {total} could not be answered (see failure in the records) and count as wrong.")
    if not any(row.variant in CONTROLS for row in rows) and any(row.variant in ("latent", "team") for row in rows):
        notes.append(UNCONTROLLED_NOTE)
    return Group(table, _comparison_table(records), *(Text(note) for note in notes))


def _comparison_table(records: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table()
    table.add_column("first - second", no_wrap=True)
    for name in ("items", "points", "95 % interval", "p (McNemar)"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in team_comparisons(records):
        difference = pair.difference
        table.add_row(
            f"{pair.first} - {pair.second}",
            str(pair.items),
            points(difference.estimate),
            f"[{points(difference.low)}, {points(difference.high)}]",
            p_text(pair.test.p_value),
        )
    return table
