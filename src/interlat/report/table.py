"""The summary of result records: one row a variant and split, and paired comparisons."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from interlat.evaluate.controls import is_control
from interlat.evaluate.statistics import Interval, PairedTest, mcnemar_exact, paired_difference, wilson_interval

_COMPARED_WITH_LATENT = ("text", "text_sampled", "list")


@dataclass(frozen=True)
class Row:
    """What the episodes of one variant on one split cost and gave."""

    variant: str
    split: str
    episodes: int
    success: Interval
    """Rate with its 95 % Wilson interval."""
    steps: float
    """Mean steps over all episodes."""
    steps_won: float | None
    """Mean steps over won episodes; None without any."""
    sender_seconds: float
    receiver_seconds: float
    message_bytes: float
    message_rows: float
    sender_tokens: float
    decoded_tokens: float


@dataclass(frozen=True)
class Comparison:
    """Two variants on the same items."""

    first: str
    second: str
    split: str
    difference: Interval
    """Success of the first minus the second, with a paired bootstrap interval."""
    test: PairedTest
    """Exact two-sided McNemar test."""


def variants_of(records: Sequence[dict[str, Any]]) -> list[str]:
    """The variants in the order in which a reader wants them: none, texts, latent, controls."""
    order = {name: i for i, name in enumerate(("none", "text", "text_sampled", "list", "latent", "latent_unsent"))}
    return sorted({record["variant"] for record in records}, key=lambda name: (order.get(name, 99), name))


def splits_of(records: Sequence[dict[str, Any]]) -> list[str]:
    """The splits of the records, "all" last if there are several."""
    splits = sorted({record["split"] for record in records})
    return splits if len(splits) == 1 else [*splits, "all"]


def select(records: Sequence[dict[str, Any]], variant: str, split: str) -> dict[str, dict[str, Any]]:
    """Item -> record of a variant on a split."""
    return {r["item"]: r for r in records if r["variant"] == variant and split in (r["split"], "all")}


def summarise(records: Sequence[dict[str, Any]]) -> list[Row]:
    """One row for every variant and split, and one for all splits together."""
    rows = []
    for split in splits_of(records):
        for variant in variants_of(records):
            chosen = list(select(records, variant, split).values())
            if not chosen:
                continue
            won = [record["steps"] for record in chosen if record["success"]]

            def mean(field: str, chosen: list[dict[str, Any]] = chosen) -> float:
                return statistics.fmean(record[field] for record in chosen)

            rows.append(
                Row(
                    variant=variant,
                    split=split,
                    episodes=len(chosen),
                    success=wilson_interval(len(won), len(chosen)),
                    steps=mean("steps"),
                    steps_won=statistics.fmean(won) if won else None,
                    sender_seconds=mean("sender_seconds"),
                    receiver_seconds=mean("receiver_seconds"),
                    message_bytes=mean("message_bytes"),
                    message_rows=mean("message_rows"),
                    sender_tokens=mean("sender_tokens"),
                    decoded_tokens=mean("decoded_tokens"),
                )
            )
    return rows


def compare(records: Sequence[dict[str, Any]]) -> list[Comparison]:
    """Latent against texts and controls, text against none; only items that both variants have played."""
    names = variants_of(records)
    pairs = [("latent", other) for other in names if other in _COMPARED_WITH_LATENT]
    pairs += [("text", "none"), ("latent", "none")]
    pairs += [("latent", other) for other in names if other == "latent_unsent" or is_control(other)]
    result = []
    for split in splits_of(records):
        for first, second in pairs:
            one, two = select(records, first, split), select(records, second, split)
            items = sorted(set(one) & set(two))
            if not items:
                continue
            a = [float(one[item]["success"]) for item in items]
            b = [float(two[item]["success"]) for item in items]
            result.append(Comparison(first, second, split, paired_difference(a, b), mcnemar_exact(a, b)))
    return result


def is_controlled(records: Sequence[dict[str, Any]]) -> bool:
    """Whether the records of a latent variant come with at least one control of its message."""
    names = variants_of(records)
    return "latent" not in names or any(is_control(name) for name in names)


def rich_table(records: Sequence[dict[str, Any]]) -> Table:
    """The summary for a terminal of 80 columns."""
    rows = summarise(records)
    caption = "success: 95 % Wilson interval; s/game: scout, actor; means over games"
    if not is_controlled(records):
        caption += "\nuncontrolled: no control of the latent message was played"
    table = Table(caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for name in ("success %", "steps", "scout s", "actor s", "bytes", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    split = ""
    for row in rows:
        if row.split != split:
            table.add_section()
            table.add_row(f"[bold]{row.split}, {row.episodes} games[/bold]")
        split = row.split
        rate = row.success
        table.add_row(
            row.variant,
            f"{100 * rate.estimate:.0f} [{100 * rate.low:.0f},{100 * rate.high:.0f}]",
            f"{row.steps:.1f}",
            f"{row.sender_seconds:.3f}",
            f"{row.receiver_seconds:.3f}",
            f"{row.message_bytes:.0f}",
            f"{row.message_rows:.0f}",
        )
    return table


def rich_comparisons(records: Sequence[dict[str, Any]]) -> Table:
    """The paired comparisons for a terminal of 80 columns."""
    caption = "points of success, paired by game; exact McNemar"
    table = Table(caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("comparison", "split"):
        table.add_column(name, no_wrap=True)
    for name in ("difference", "95 % interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in compare(records):
        difference = item.difference
        table.add_row(
            f"{item.first} - {item.second}",
            item.split,
            f"{100 * difference.estimate:+.1f}",
            f"[{100 * difference.low:+.1f},{100 * difference.high:+.1f}]",
            f"{item.test.p_value:.2g}",
        )
    return table


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """Summary and comparisons as two Markdown tables."""
    lines = [
        "| variant | split | games | success % | steps | scout s | actor s | bytes | rows |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in summarise(records):
        rate = row.success
        lines.append(
            f"| {row.variant} | {row.split} | {row.episodes} | {100 * rate.estimate:.1f} "
            f"[{100 * rate.low:.1f}, {100 * rate.high:.1f}] | {row.steps:.2f} | {row.sender_seconds:.4f} "
            f"| {row.receiver_seconds:.4f} | {row.message_bytes:.0f} | {row.message_rows:.1f} |"
        )
    lines += ["", "| comparison | split | difference, points | 95 % interval | p (McNemar) |"]
    lines += ["| --- | --- | ---: | ---: | ---: |"]
    for item in compare(records):
        difference = item.difference
        lines.append(
            f"| {item.first} - {item.second} | {item.split} | {100 * difference.estimate:+.1f} "
            f"| [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}] | {item.test.p_value:.2g} |"
        )
    return "\n".join(lines) + "\n"
