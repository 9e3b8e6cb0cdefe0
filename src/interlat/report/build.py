"""From the result records of a run to its table, figures and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group

from interlat.errors import InputError
from interlat.files import write_atomically
from interlat.report.figures import save_figure, success_figure
from interlat.report.page import render_page
from interlat.report.table import markdown, rich_comparisons, rich_table


@dataclass(frozen=True)
class Report:
    """What `build_report` made."""

    page: Path
    """The self-contained page."""
    table: Group
    """Summary and comparisons for a terminal."""


def build_report(
    records: Sequence[dict[str, Any]],
    output: str | Path,
    *,
    inspections: dict[str, Any] | None = None,
    title: str = "Scout and actor",
    command: str = "",
) -> Report:
    """Write ``report.html``, ``summary.md`` and the figures into ``output``, each atomically.

    Args:
        records: result records of one run.
        output: the run directory.
        inspections: what the latents of each item decode to.
        title: heading of the page.
        command: the command that made the run.

    Raises:
        InputError: no records.
    """
    if not records:
        raise InputError("no result records: nothing was played, so there is nothing to report")
    folder = Path(output)
    svg = save_figure(success_figure(records), folder / "figures", "success")
    page = render_page(records, inspections or {}, {"Success by variant": svg}, title, command)
    write_atomically(folder / "report.html", page)
    write_atomically(folder / "summary.md", markdown(records))
    return Report(folder / "report.html", Group(rich_table(records), rich_comparisons(records)))
