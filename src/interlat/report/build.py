"""From result records to everything that a reader wants: table, figures, page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group

from interlat.files import write_atomically
from interlat.report.figures import make_figures, write_figures
from interlat.report.games import Inspection
from interlat.report.page import Facts, now, render_page, this_machine
from interlat.report.summary import Record, Summary, summarise
from interlat.report.table import markdown_report, terminal_report
from interlat.results import read_results

ABOUT = (
    "A scout knows the task and what it remembers of the room; an actor plays the game and sees neither the scout's "
    "evidence nor its thoughts. Each row is one kind of message between them: none, the scout's plan as text, its "
    "hidden states (latent), and controls that keep the form of the latent message and destroy what it says."
)


@dataclass(frozen=True)
class Report:
    """What `build_report` made."""

    page: Path
    """``report.html``, self-contained."""
    summary: Summary
    """The numbers, as in ``summary.json``."""
    table: Group
    """Summary and comparisons for a terminal of 80 columns."""


def build_report(
    results: str | Path | Sequence[Record],
    output: str | Path,
    *,
    inspections: Mapping[str, Inspection] | None = None,
    title: str = "Two agents, one message",
    about: str = ABOUT,
    command: str = "",
) -> Report:
    """Write ``report.html``, ``summary.json``, ``summary.md`` and ``figures/*.png|svg`` into ``output``.

    Each file is written atomically, and nothing is written before all of it has been made.

    Args:
        results: a ``results.jsonl``, or its records. They have to be of one configuration.
        output: the run directory.
        inspections: item -> what its latent message decodes to (see `interlat.report.games.Inspection`).
        title: heading of the page.
        about: what was played, in a few sentences.
        command: the command that made the run.

    Raises:
        InputError: no records, records that lack a field or contradict each other, a number that is not finite.
        StorageError: a line of the file is no result, or the file system refused.
    """
    records = read_results([results]).records if isinstance(results, str | Path) else results
    summary = summarise(records)
    figures = make_figures(summary)
    facts = Facts(title=title, about=about, command=command, machine=this_machine(), date=now())
    page = render_page(summary, records, figures, facts, inspections or {})
    run = {"title": title, "command": command, "machine": facts.machine, "date": facts.date}
    numbers = json.dumps({**run, **summary.as_dict()}, indent=1, allow_nan=False)

    folder = Path(output)
    write_figures(figures, folder / "figures")
    write_atomically(folder / "summary.json", numbers + "\n")
    write_atomically(folder / "summary.md", markdown_report(summary))
    write_atomically(folder / "report.html", page)
    return Report(folder / "report.html", summary, terminal_report(summary))
