"""The report of a run of household games: table, Markdown, figures and the page."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from rich.console import Group
from rich.text import Text

from interlat.evaluation.statistics import Interval
from interlat.files import write_atomically
from interlat.report.evaluation import donor_notes, shown
from interlat.report.exports import exported_tables
from interlat.report.figures import INK, STYLE, bar_figure, png_of, success_figure, svg_of
from interlat.report.page import facts_of_run, is_uncontrolled, render_page
from interlat.report.reader import Inspection, Wording
from interlat.report.summary import ROLES, Arm, Record, Row, Summary, summarise
from interlat.report.table import (
    Column,
    comparison_columns,
    donor_columns,
    folded,
    markdown_table,
    mean_of,
    percent,
)
from interlat.report.teams import UNCONTROLLED_NOTE
from interlat.results import read_results

ABOUT = (
    "A scout knows the task and what it remembers of the room; an actor plays the game and sees neither the scout's "
    "evidence nor its thoughts. Each row is one kind of message between them: none, the scout's plan as text, its "
    "hidden states (latent), and controls that keep the form of the latent message and destroy what it says."
)
_NEEDED = (
    *("item", "variant", "split", "task_type", "success", "steps", "max_steps", "seed", "config_hash"),
    *("message_kind", "message_bytes", "prompt_tokens", "decoded_tokens", "sender_tokens", "plan", "turns"),
)
_NAME_WIDTH = 17
WORDING = Wording(
    item="game",
    items="games",
    arm="variant",
    sender="scout",
    receiver="actor",
    played_by="played by the actor",
    solved="won",
    unsolved="not won",
    first_action="first action",
)


def summarise_games(records: Sequence[Record]) -> Summary:
    """The summary of some episodes.

    Raises:
        InputError: no records, a field that is missing, or an episode that is there twice.
    """
    # The controls are for every latent variant, whatever its channel; a variant's name says what it is.
    named = [{name: value for name, value in r.items() if name not in ("channel", "control")} for r in records]
    return summarise(named, pairs=game_pairs, needed=_NEEDED)


def game_pairs(arms: Sequence[Arm]) -> list[tuple[Arm, Arm, str]]:
    """Every latent variant against every other one, text, none and every control; text and controls against none."""
    of = {role: [arm for arm in arms if arm.role == role] for role in ROLES}
    pairs = [(one, other, "channel") for one, other in combinations(of["latent"], 2)]
    pairs += [(latent, text, "channel") for latent in of["latent"] for text in of["text"]]
    pairs += [(sent, none, "channel") for sent in of["text"] + of["latent"] for none in of["none"]]
    pairs += [(latent, control, "control") for latent in of["latent"] for control in of["control"]]
    return pairs + [(control, none, "floor") for control in of["control"] for none in of["none"]]


def _steps(row: Row, digits: int, interval: bool = False) -> str:
    found = row.steps
    assert found is not None, "games have steps"
    ends = f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if interval else ""
    return f"{found.estimate:.{digits}f}{ends}"


def _steps_won(digits: int) -> Callable[[Row], str]:
    return lambda row: "-" if row.steps_won is None else f"{row.steps_won:.{digits}f}"


def _name(row: Row) -> Text:
    name = f"{row.variant} (uncontrolled)" if is_uncontrolled(row) else row.variant
    return Text(folded(name, _NAME_WIDTH), style="bold" if row.role == "latent" else "")


_TERMINAL: Sequence[Column[Row]] = (
    Column("\nvariant", _name, left=True),
    Column("\ngames", lambda row: str(row.items)),
    Column("success %\n95 % interval", lambda row: percent(row.success, ends=0)),
    Column("steps\nall", lambda row: _steps(row, 1)),
    Column("steps\nwon", _steps_won(1)),
    Column("scout\ns/game", mean_of("sender_seconds")),
    Column("actor\ns/game", mean_of("receiver_seconds")),
    Column("bytes\nsent", mean_of("message_bytes")),
    Column("actor\ntokens", mean_of("decoded_tokens")),
)
_MARKDOWN: Sequence[Column[Row]] = (
    Column("variant", lambda row: f"`{row.variant}`" + " *uncontrolled*" * is_uncontrolled(row), left=True),
    Column("games", lambda row: str(row.items)),
    Column("success % [95 % interval]", lambda row: percent(row.success)),
    Column("steps [95 % interval]", lambda row: _steps(row, 2, interval=True)),
    Column("steps won", _steps_won(2)),
    Column("scout s", mean_of("sender_seconds")),
    Column("actor s", mean_of("receiver_seconds")),
    Column("bytes", mean_of("message_bytes")),
    Column("rows", mean_of("latents")),
    Column("scout tokens", mean_of("sender_tokens")),
    Column("actor tokens", mean_of("decoded_tokens")),
    Column("places", mean_of("distinct_places")),
    Column("repeats", mean_of("repeated_actions")),
)


def _steps_cell(row: Row) -> Markup:
    found = row.steps
    assert found is not None, "games have steps"
    return Markup(f'{found.estimate:.1f} <span class="quiet">[{found.low:.1f}, {found.high:.1f}]</span>')


_PAGE: Sequence[Column[Row]] = (
    Column("steps", _steps_cell),
    Column("steps if won", _steps_won(1)),
    Column("scout, s", mean_of("sender_seconds")),
    Column("actor, s", mean_of("receiver_seconds")),
    Column("message, bytes", mean_of("message_bytes")),
    Column("latent rows", mean_of("latents")),
    Column("scout tokens", mean_of("sender_tokens")),
    Column("actor tokens", mean_of("decoded_tokens")),
)


def draw_figures(summary: Summary) -> dict[str, tuple[str, Figure]]:
    """Every figure of the report by its name, with a caption."""
    success = success_figure(summary, "games won, %", "games")
    steps = "Mean steps, with 95 % bootstrap intervals; diamonds: won games only"
    return {
        "success": ("Games won, with 95 % Wilson intervals", success),
        "steps": (steps, steps_figure(summary)),
    }


@matplotlib.rc_context(STYLE)
def steps_figure(summary: Summary) -> Figure:
    """Mean steps of every variant over all games, with a 95 % bootstrap interval; a diamond over won games."""

    def mean_steps(row: Row) -> Interval:
        return row.steps or Interval(0.0, 0.0, 0.0)

    longest, label = max(mean_steps(row).high for row in summary.rows), "mean steps (diamond: won games)"
    figure = bar_figure(summary, mean_steps, "games", form="{:.1f}", label=label, longest=longest)
    for axes, split in zip(figure.axes, summary.groups, strict=True):
        for place, row in enumerate(summary.on(split)):
            if row.steps_won is not None:
                axes.plot(row.steps_won, place, "D", color="white", markeredgecolor=INK, markersize=5.5)
        axes.set_xlim(0, 1.22 * longest)
    return figure


def notes(summary: Summary) -> list[str]:
    """What a reader has to know to read the tables."""
    caps = summary.step_caps
    cap = str(caps[0]) if len(caps) == 1 else f"{caps[0]} to {caps[-1]}"
    lines = [
        f"Success: won, as the engine says, within {cap} steps; 95 % Wilson interval.",
        "Points: difference of success paired by game; 95 % bootstrap interval.",
        "p: exact two-sided McNemar test, not corrected for the number of tests.",
    ]
    lines += donor_notes(summary)
    if summary.repeated:
        lines.append("Games were played under several seeds: success is the mean over them, and intervals count games.")
    if any(map(is_uncontrolled, summary.rows)):
        lines.append(UNCONTROLLED_NOTE)
    return lines


def terminal_report(summary: Summary) -> Group:
    """Summary, comparisons and notes; fits 80 columns."""
    compared = [comparison for comparison in summary.comparisons if comparison.about != "floor"]
    return shown(summary, _TERMINAL, comparison_columns("games"), compared, notes(summary))


def markdown_report(summary: Summary) -> str:
    """The same as Markdown, with all columns and all comparisons; for a README."""
    parts = [f"**{split}**\n\n{markdown_table(_MARKDOWN, summary.on(split))}" for split in summary.groups]
    if summary.comparisons:
        split = Column[Any]("split", lambda one: one.group, left=True)
        pair = Column[Any]("first - second", lambda one: f"`{one.first}` - `{one.second}`", left=True)
        parts.append(markdown_table([split, pair, *comparison_columns("games")[1:]], summary.comparisons))
    parts += [markdown_table(donor_columns(), summary.donors)] if summary.donors else []
    return "\n\n".join([*parts, "\n".join(notes(summary))]) + "\n"


def as_dict(summary: Summary) -> dict[str, Any]:
    """The summary for ``summary.json``, under the names that it always had there."""
    found = summary.as_dict()
    renamed = {"group": "split", "items": "games", "latents": "message_rows"}
    for part in ("rows", "comparisons"):
        found[part] = [{renamed.get(name, name): value for name, value in one.items()} for one in found[part]]
    for row, one in zip(found["rows"], summary.rows, strict=True):
        row["controlled"] = not is_uncontrolled(one)
    found["splits"] = found.pop("groups")
    return {**found, "uncontrolled": any(map(is_uncontrolled, summary.rows))}


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
    """Write ``report.html``, ``summary.json``, ``summary.md``, ``tables/*`` and ``figures/*.png|svg`` into ``output``.

    Each file is written atomically, and nothing is written before all of it has been made.

    Args:
        results: a ``results.jsonl``, or its records. They have to be of one configuration.
        output: the run directory.
        inspections: item -> what its latent message decodes to (see `interlat.report.reader.Inspection`).
        title: heading of the page.
        about: what was played, in a few sentences.
        command: the command that made the run.

    Raises:
        InputError: no records, records that lack a field or contradict each other, a number that is not finite.
        StorageError: a line of the file is no result, or the file system refused.
    """
    records = read_results([results]).records if isinstance(results, str | Path) else results
    summary = summarise_games(records)
    figures = draw_figures(summary)
    facts = facts_of_run(title, about, command)
    page = render_page(
        summary, records, figures, facts, _PAGE, notes(summary), donor_notes(summary), inspections or {}, WORDING
    )
    run = {name: value for name, value in facts.items() if name != "about"}
    files: dict[str, str | bytes] = {}
    for name, (_, figure) in figures.items():
        files |= {f"figures/{name}.png": png_of(figure), f"figures/{name}.svg": svg_of(figure)}
    files["summary.json"] = json.dumps({**run, **as_dict(summary)}, indent=1, allow_nan=False) + "\n"
    files |= {"summary.md": markdown_report(summary), "report.html": page, **exported_tables(summary)}
    for name, content in files.items():
        write_atomically(Path(output) / name, content)
    return Report(Path(output) / "report.html", summary, terminal_report(summary))
