"""The summary of a run of teams: what each variant got right, its costs, and what the differences are worth."""

from collections.abc import Sequence

from rich.console import Group

from interlat.evaluation.teams import CONTROLS
from interlat.report.evaluation import donor_notes, shown
from interlat.report.summary import Arm, Record, Row, Summary, summarise
from interlat.report.table import Column, comparison_columns, mean_of, percent

COSTS = {
    "tokens\nread": "prompt_tokens",
    "tokens\nwritten": "decoded_tokens",
    "latent\nsteps": "latent_steps",
    "\npasses": "forward_passes",
    "bytes\nsent": "message_bytes",
    "\ns/item": "seconds",
}
"""Head of a column -> the field whose mean it shows."""
UNCONTROLLED_NOTE = "Uncontrolled: no control was played, so a gain may not come from what the message says."


COLUMNS: Sequence[Column[Row]] = (
    Column("\nvariant", lambda row: row.variant, left=True),
    Column("\nitems", lambda row: str(row.items)),
    Column("correct %\n95 % interval", lambda row: percent(row.success, ends=0)),
    *(Column(head, mean_of(field)) for head, field in COSTS.items()),
)


def team_pairs(arms: Sequence[Arm]) -> list[tuple[Arm, Arm, str]]:
    """The team that thinks against everything else, and the teams that write against one agent and each other."""
    of = {arm.variant: arm for arm in arms}
    thinking = of.get("latent", of.get("team"))
    pairs = [(thinking, other, "channel") for other in arms if thinking is not None and other != thinking]
    further = [("text", "single"), ("text_cache", "text")]
    return pairs + [(of[one], of[other], "channel") for one, other in further if {one, other} <= of.keys()]


def summarise_teams(records: Sequence[Record]) -> Summary:
    """The summary of the answers of one run: one row a variant, in the order of the records."""
    return summarise(records, pairs=team_pairs)


def team_tables(records: Sequence[Record]) -> Group:
    """Rows and comparisons as tables for a terminal of 80 columns, and what a reader has to know."""
    summary = summarise_teams(records)
    notes = donor_notes(summary)
    failures = sum(row.failures for row in summary.rows)
    if failures:
        total = sum(row.episodes for row in summary.rows)
        notes.append(f"{failures} of {total} could not be answered (see failure in the records) and count as wrong.")
    if not set(summary.variants) & set(CONTROLS) and set(summary.variants) & {"latent", "team"}:
        notes.append(UNCONTROLLED_NOTE)
    return shown(summary, COLUMNS, comparison_columns("items"), summary.comparisons, notes)
