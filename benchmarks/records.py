"""The records of a benchmark and how they are printed: JSON lines for programs, a table for people."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from interlat.engine.hardware import describe_machine


def record_of(
    bench: str, case: str, metric: str, unit: str, amount: float, seconds: tuple[float, float]
) -> dict[str, Any]:
    """One record: ``amount`` divided by the seconds of ours and of the reference, and the ratio of the two."""
    ours, reference = (amount / value for value in seconds)
    return comparison(bench, case, metric, unit, ours, reference, larger_is_better=True)


def comparison(
    bench: str, case: str, metric: str, unit: str, ours: float, reference: float, *, larger_is_better: bool
) -> dict[str, Any]:
    """One record of two values, whose ratio is above 1 where ours is better."""
    return {
        "bench": bench,
        "case": case,
        "metric": metric,
        "unit": unit,
        "ours": ours,
        "reference": reference,
        "ratio": ours / reference if larger_is_better else reference / ours,
        "machine": describe_machine(),
    }


def print_records(records: Iterable[dict[str, Any]], title: str, as_json: bool = False) -> list[dict[str, Any]]:
    """Print records as they come, JSON lines on stdout or one table on stderr at the end, and give them back."""
    kept = []
    for record in records:
        kept.append(record)
        if as_json:
            print(json.dumps(record), flush=True)
    if not as_json:
        Console(stderr=True).print(table(kept, title))
    return kept


def table(records: Sequence[dict[str, Any]], title: str) -> Table:
    """The records for people."""
    result = Table(title=title)
    for column in ("case", "metric", "ours", "reference", "ratio"):
        result.add_column(column, justify="left" if column in ("case", "metric") else "right", overflow="fold")
    for record in records:
        numbers = [f"{record['ours']:.4g}", f"{record['reference']:.4g}", f"{record['ratio']:.2f}x"]
        result.add_row(record["case"], record["metric"], *numbers)
    if records:
        result.caption = records[0]["machine"]
    return result
