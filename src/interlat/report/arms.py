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
from interlat.report.summary import ALL_SPLITS, Record, splits_of
from interlat.report.table import markdown_line, p_text

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
    for split in splits_of([{"split": game[0]} for game in games]):
        chosen = [game for game in games if split in (game[0], ALL_SPLITS)]
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
    splits = list(dict.fromkeys(row.split for row in rows))
    header = ["arm", "trainings", *(f"{split}, % won" for split in splits), "each training", f"- {baseline}", "p"]
    header += [f"% of {baseline}"] if share else []
    lines = [markdown_line(header), markdown_line(["---", "---:", *["---:"] * (len(header) - 2)])]
    for arm in dict.fromkeys(row.arm for row in rows):
        of = {row.split: row for row in rows if row.arm == arm}
        last = of[splits[-1]]
        cells = [arm, str(len(last.rates)), *(_interval(of[split].success, "") for split in splits)]
        cells.append(", ".join(f"{100 * rate:.1f}" for rate in last.rates))
        cells += [*_difference_cells(last.difference), *_share_cells(last.difference, share)]
        lines.append(markdown_line(cells))
    return "\n".join(lines) + "\n"


def rich_arms(rows: Sequence[ArmRow], baseline: str, share: bool = False) -> Table:
    """The rows of the last split (all of them together) for a terminal of 80 columns."""
    split = rows[-1].split
    table = Table(title=f"success on {rows[-1].games} games ({split}), against {baseline}")
    for column in ("arm", "% won", "each training", "points", "p", *(["% kept"] if share else [])):
        table.add_column(column, justify="left" if column == "arm" else "right", overflow="fold")
    for row in rows:
        if row.split == split:
            each = ", ".join(f"{100 * rate:.1f}" for rate in row.rates)
            found = (*_difference_cells(row.difference), *_share_cells(row.difference, share))
            table.add_row(row.arm, _interval(row.success, ""), each, *found)
    return table


def as_records(rows: Sequence[ArmRow]) -> list[dict[str, Any]]:
    """One plain record a row, for JSON lines."""
    records = []
    for row in rows:
        record: dict[str, Any] = {"arm": row.arm, "split": row.split, "games": row.games, "rates": list(row.rates)}
        record |= {"mean_rate": statistics.fmean(row.rates), "interval": [row.success.low, row.success.high]}
        if row.difference is not None:
            found = row.difference
            record |= {"difference": found.over_games.estimate, "p_value": found.test.p_value}
            if found.kept is not None:
                record |= {"kept": found.kept.estimate, "kept_interval": [found.kept.low, found.kept.high]}
            record["difference_interval_over_games"] = [found.over_games.low, found.over_games.high]
            if found.over_trainings is not None:
                both = found.over_trainings
                record["difference_interval_over_games_and_trainings"] = [both.low, both.high]
        records.append(record)
    return records


def _interval(value: Interval, form: str) -> str:
    return f"{100 * value.estimate:{form}.1f} [{100 * value.low:{form}.1f}, {100 * value.high:{form}.1f}]"


def _difference_cells(difference: Difference | None) -> list[str]:
    if difference is None:
        return ["", ""]
    shown = difference.over_trainings or difference.over_games
    return [_interval(shown, "+"), p_text(difference.test.p_value)]


def _share_cells(difference: Difference | None, share: bool) -> list[str]:
    if not share:
        return []
    return ["" if difference is None or difference.kept is None else _interval(difference.kept, "")]
