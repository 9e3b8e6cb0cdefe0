"""The report of a run of teams: what each variant got right, its costs, what the differences are worth, the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group

from interlat.evaluation.teams import CONTROLS
from interlat.files import write_atomically
from interlat.report.evaluation import donor_notes, shown
from interlat.report.exports import exported_tables
from interlat.report.figures import success_figure
from interlat.report.page import facts_of_run, render_page
from interlat.report.reader import Inspection, Wording
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
WRITING = ("single", "text", "text_cache")
"""The variants whose members write."""
OWN = "team"
"""The variant of a team from a file, whose members may write or think."""
_FIRST = 3
"""Columns that the page has of its own: the team, its questions, and how many were right."""
UNCONTROLLED_NOTE = "Uncontrolled: no control was played, so a gain may not come from what the message says."

WORDING = Wording(
    item="question",
    items="questions",
    arm="team",
    sender="",
    receiver="team",
    played_by="answered by the team",
    solved="right",
    unsolved="wrong",
)
ABOUT = (
    "One agent, teams whose members write to each other, teams that think in latent steps and hand their caches on, "
    "and controls that take away what a cache says, on the same questions."
)

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
    return _tables(summarise_teams(records))


def _tables(summary: Summary) -> Group:
    return shown(summary, COLUMNS, comparison_columns("items"), summary.comparisons, team_notes(summary))


def team_notes(summary: Summary) -> list[str]:
    """What a reader has to know to read the tables."""
    notes = donor_notes(summary)
    failures = sum(row.failures for row in summary.rows)
    if failures:
        total = sum(row.episodes for row in summary.rows)
        notes.append(f"{failures} of {total} could not be answered (see failure in the records) and count as wrong.")
    if not set(summary.variants) & set(CONTROLS) and set(summary.variants) & {"latent", "team"}:
        notes.append(UNCONTROLLED_NOTE)
    return notes


def report_teams(
    records: Sequence[Record], output: str | Path, *, questions: Mapping[str, str], title: str, command: str = ""
) -> Group:
    """Write ``report.html`` and ``tables/*`` into ``output``, each atomically; the tables for a terminal.

    Args:
        records: the answers.
        output: the run directory.
        questions: item -> what was asked.
        title: heading of the page.
        command: the command that made the run.

    Raises:
        InputError: no records, or records that lack a field or contradict each other.
        StorageError: the file system refused.
    """
    asked = [page_record(record) for record in records]
    summary = summarise(asked, pairs=team_pairs)
    inspections: dict[str, Inspection] = {
        record["item"]: {"task": questions.get(record["item"], ""), "answer": str(record.get("answer", ""))}
        for record in records
    }
    columns = [Column(" ".join(column.head.split()), column.cell) for column in COLUMNS[_FIRST:]]
    figures = {
        "success": ("Right answers, with 95 % Wilson intervals", success_figure(summary, "right, %", "questions"))
    }
    facts = facts_of_run(title, ABOUT, command)
    notes, about_donors = team_notes(summary), donor_notes(summary)
    page = render_page(summary, asked, figures, facts, columns, notes, about_donors, inspections, WORDING)
    as_recorded = summarise_teams(records)
    for name, content in {**exported_tables(as_recorded), "report.html": page}.items():
        write_atomically(Path(output) / name, content)
    return _tables(as_recorded)


def page_record(record: Record) -> dict[str, Any]:
    """An answer as the page shows it: a turn a member, and which kind of team it was."""
    variant = record["variant"]
    members: Mapping[str, Mapping[str, Any]] = record.get("agents", {})
    control = variant in CONTROLS
    writes = variant in WRITING or (variant == OWN and not record["latent_steps"])
    return {
        "split": "",
        **record,
        "steps": len(members),
        "max_steps": 1,
        "message_kind": "text" if writes else "cache",
        "channel": "latent" if control else variant,
        "control": variant if control else "",
        "turns": [{"action": name, "observation": said_by(member)} for name, member in members.items()],
    }


def said_by(member: Mapping[str, Any]) -> str:
    """What a member of a team wrote or, where it thought, its latent steps with their likeliest tokens, if kept."""
    steps = member.get("latent_steps", 0)
    parts = [f"{steps} latent steps"] if steps else []
    parts += [" ".join(tokens[0].strip() for tokens in member["latents"])] if member.get("latents") else []
    return "\n".join([*parts, member.get("text", "")]).strip()
