"""Arms of an experiment, each trained once or several times, compared on the games that all of them played."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from interlat.errors import InputError
from interlat.evaluation.statistics import Interval, PairedTest, mean_interval, paired_difference, sign_flip_exact
from interlat.report.summary import ALL, Record, groups_of
from interlat.report.table import Column, markdown_table, p_text, percent, rich_table

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """An arm against another one."""

    over_games: Interval
    """Difference of the success rates; games are resampled in pairs, the trainings are taken as they are."""
    over_trainings: Interval | None
    """The same difference with trainings resampled too, those of the baseline as well if it has several; None unless
    this arm has several."""
    kept: Interval | None
    """Success rate as a share of the baseline's, resampled as the difference is; None of a baseline without success."""
    test: PairedTest
    """Exact test of the mean difference over games, each with its mean over trainings."""


@dataclass(frozen=True)
class ArmRow:
    """One arm on one split."""

    arm: str
    split: str
    games: int
    """However many draws of the evidence each was played on."""
    rates: tuple[float, ...]
    """Success rate of each training."""
    success: Interval
    """Mean over trainings, with its 95 % bootstrap interval over games."""
    difference: Difference | None
    """Against the baseline; None for the baseline itself."""


def compare_arms(arms: Mapping[str, Sequence[Sequence[Record]]], baseline: str) -> list[ArmRow]:
    """Success of every arm on every split and on all of them, and its difference to the baseline.

    Args:
        arms: name -> for each of its trainings the episodes that it played. A game that was played on several draws of
            the evidence counts once, with the mean over them.
        baseline: the arm that the others are compared with.

    Raises:
        InputError: an unknown baseline, an arm without episodes, a game that was played twice on the same evidence by a
            training, or trainings that did not play the same games on the same evidence.
    """
    if baseline not in arms:
        raise InputError(f"the baseline {baseline!r} is no arm; there are {', '.join(arms)}")
    won = {name: [_won(name, records) for records in trainings] for name, trainings in arms.items()}
    first = next(iter(won.values()))[0]
    games = sorted(first)
    draws = math.lcm(*(len(played) for played in first.values()))
    for name, trainings in won.items():
        for training in trainings:
            if sorted(training) != games:
                raise InputError(
                    f"arm {name!r} played {len(training)} games, not the {len(games)} of the others; evaluate all on "
                    "the same games"
                )
            if not all(_same_evidence(training[game], first[game]) for game in games):
                raise InputError(
                    f"arm {name!r} played the games on other evidence than the others; evaluate all on the same draws"
                )
    rows = []
    for split in groups_of([{"split": game[0]} for game in games]):
        chosen = [game for game in games if split in (game[0], ALL)]
        scores = {
            name: np.array([[np.mean(list(training[game].values())) for game in chosen] for training in trainings])
            for name, trainings in won.items()
        }
        for name, table in scores.items():
            difference = None if name == baseline else _difference(table, scores[baseline], draws)
            rates = tuple(float(rate) for rate in table.mean(axis=1))
            rows.append(ArmRow(name, split, len(chosen), rates, mean_interval(table.mean(axis=0).tolist()), difference))
    return rows


def _won(arm: str, records: Sequence[Record]) -> dict[tuple[str, str], dict[str, bool]]:
    """Of each game on each evidence whether it was won; results of earlier versions do not say on which."""
    if not records:
        raise InputError(f"arm {arm!r} has a training without episodes; evaluate it first")
    won: dict[tuple[str, str], dict[str, bool]] = {}
    for record in records:
        won.setdefault((record["split"], record["item"]), {})[record.get("evidence", "")] = bool(record["success"])
    if sum(map(len, won.values())) < len(records):
        raise InputError(f"arm {arm!r} has a training that played a game twice; give the episodes of one evaluation")
    return won


def _same_evidence(one: Mapping[str, bool], other: Mapping[str, bool]) -> bool:
    """Whether a game was played on the same draws, as far as is known."""
    return len(one) == len(other) and (one.keys() == other.keys() or "" in one or "" in other)


def _difference(ours: np.ndarray, theirs: np.ndarray, draws: int) -> Difference:
    one, two = ours.mean(axis=0).tolist(), theirs.mean(axis=0).tolist()
    first, second = _resampled(ours, theirs)
    both = _quantiles(ours.mean() - theirs.mean(), first - second) if len(ours) > 1 else None
    # A resample in which the baseline wins no game says nothing about a share of it.
    some = second > 0
    return Difference(
        over_games=paired_difference(one, two),
        over_trainings=both,
        kept=_quantiles(ours.mean() / theirs.mean(), first[some] / second[some]) if theirs.any() else None,
        test=sign_flip_exact(one, two, draws * math.lcm(len(ours), len(theirs))),
    )


def _resampled(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Success rates of both arms in bootstrap samples over the trainings of each and over games, the games in pairs.

    With a handful of trainings the spread is a rough one, and too narrow: three draws of three trainings can hardly be
    more spread than the three are.
    """
    rng = np.random.default_rng(seed)
    count = ours.shape[1]
    found = np.empty((2, RESAMPLES))
    for number in range(RESAMPLES):
        games = rng.integers(count, size=count)
        found[0, number] = ours[rng.integers(len(ours), size=len(ours))].mean(axis=0)[games].mean()
        found[1, number] = theirs[rng.integers(len(theirs), size=len(theirs))].mean(axis=0)[games].mean()
    return found[0], found[1]


def _quantiles(estimate: float, found: np.ndarray) -> Interval:
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(estimate), float(low), float(high))


def markdown_arms(rows: Sequence[ArmRow], baseline: str, share: bool = False) -> str:
    """The rows as a Markdown table, in percent and points; for a README.

    ``share`` adds what is kept of the baseline's success.
    """
    by_arm: dict[str, dict[str, ArmRow]] = {}
    for row in rows:
        by_arm.setdefault(row.arm, {})[row.split] = row

    def success_column(split: str) -> Column[dict[str, ArmRow]]:
        return Column(f"{split}, % won", lambda of: percent(of[split].success))

    def of_last(column: Column[ArmRow]) -> Column[dict[str, ArmRow]]:
        return Column(column.head, lambda of: column.cell(of[rows[-1].split]), column.left)

    arm, each, *differences = map(of_last, _columns(f"- {baseline}", f"% of {baseline}" if share else ""))
    trainings = of_last(Column("trainings", lambda row: str(len(row.rates))))
    splits = [success_column(split) for split in dict.fromkeys(row.split for row in rows)]
    return markdown_table([arm, trainings, *splits, each, *differences], list(by_arm.values())) + "\n"


def rich_arms(rows: Sequence[ArmRow], baseline: str, share: bool = False) -> Table:
    """The rows of the last split (all of them together) for a terminal of 80 columns."""
    last = [row for row in rows if row.split == rows[-1].split]
    arm, each, *differences = _columns("points", "% kept" if share else "")
    rate = Column[ArmRow]("% won", lambda row: percent(row.success))
    title = f"success on {last[0].games} games ({last[0].split}), against {baseline}"
    return rich_table([arm, rate, each, *differences], {"": last}, title=title, lined=True)


def _columns(difference: str, share: str) -> list[Column[ArmRow]]:
    """What both tables have, under these heads; no share without one."""

    def difference_cell(row: ArmRow) -> str:
        found = row.difference
        return percent(found.over_trainings or found.over_games, sign="+") if found else ""

    columns: list[Column[ArmRow]] = [
        Column("arm", lambda row: row.arm, left=True),
        Column("each training", lambda row: ", ".join(f"{100 * rate:.1f}" for rate in row.rates)),
        Column(difference, difference_cell),
        Column("p", lambda row: p_text(row.difference.test.p_value) if row.difference else ""),
    ]
    kept = Column[ArmRow](
        share, lambda row: percent(row.difference.kept) if row.difference and row.difference.kept else ""
    )
    return [*columns, kept] if share else columns


def as_records(rows: Sequence[ArmRow]) -> list[dict[str, Any]]:
    """One plain record a row, for JSON lines."""
    records = []
    for row in rows:
        record: dict[str, Any] = {"arm": row.arm, "split": row.split, "games": row.games, "rates": list(row.rates)}
        record |= {"mean_rate": statistics.fmean(row.rates), "interval": _ends(row.success)}
        if row.difference is not None:
            found = row.difference
            record |= {"difference": found.over_games.estimate, "p_value": found.test.p_value}
            if found.kept is not None:
                record |= {"kept": found.kept.estimate, "kept_interval": _ends(found.kept)}
            record["difference_interval_over_games"] = _ends(found.over_games)
            if found.over_trainings is not None:
                record["difference_interval_over_games_and_trainings"] = _ends(found.over_trainings)
        records.append(record)
    return records


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]
