"""The numbers of an evaluation: one row an arm and group of items, and the paired comparisons that matter."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from interlat.controls.latents import is_control, shortens
from interlat.errors import InputError
from interlat.evaluation.statistics import (
    Interval,
    PairedTest,
    holm,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    wilson_interval,
)
from interlat.report.donors import DonorRow, donor_rows, given_answer

Record = Mapping[str, Any]
"""One item under one arm: a line of ``results.jsonl``."""

ALL = "all"
"""The group of all items together, where there are several groups."""
LEVEL = "level"
"""The field of questions that says how hard they are."""
ROLES = ("none", "text", "latent", "control")
"""What an arm is for, in the order of tables and figures."""
NEEDED = ("item", "variant", "success")
"""What no record may lack. Other fields have a default, see `general`."""
COUNTED = (
    *("prompt_tokens", "decoded_tokens", "sender_tokens", "latent_steps", "forward_passes"),
    *("message_bytes", "latents", "peak_memory_bytes"),
)
"""The fields whose means a row has, beside ``seconds``, ``{phase}_seconds`` for each phase, and `exploration`."""
_GOES = "go to "
"""How an action begins that goes to a place, in household games and elsewhere."""

_SPLIT_ORDER = ("train", "seen", "unseen")
_DEFAULTS = {"split": "", "task_type": "", "message_kind": "", "seed": 0, "config_hash": "", "failure": ""}


@dataclass(frozen=True)
class Arm:
    """One way in which all items were tried."""

    variant: str
    """Its label."""
    role: str
    """One of `ROLES`."""
    channel: str
    """Empty for a control of an old record, which does not name its channel."""
    control: str = ""


@dataclass(frozen=True)
class Sampled:
    """Several answers of one arm to each question, under different seeds; intervals as of the success, over items."""

    answers: int
    """The fewest that a question has."""
    majority: Interval
    """Questions whose most frequent answer is right; of several that are equally frequent each counts in part."""
    pass_at: Mapping[int, Interval]
    """k -> questions of which at least one of k answers is right, for 1, 2, 4, ... and all answers."""


@dataclass(frozen=True)
class Row:
    """What one arm reached on one group of items, and its costs; means are over episodes."""

    variant: str
    role: str
    """One of `ROLES`."""
    group: str
    controlled: bool
    """False for a message that no control of its channel was compared with in this group."""
    items: int
    episodes: int
    """More than ``items`` if items were tried under several seeds."""
    failures: int
    """Episodes with a failure, such as a text that did not fit or an empty message."""
    success: Interval
    """Rate with its 95 % Wilson interval, for so many items: those that were tried several times count once."""
    sampled: Sampled | None
    """What several answers to each question make together; None for one answer, and for games."""
    score: Interval | None
    """Mean with its 95 % bootstrap interval over items; None without scores."""
    steps: Interval | None
    """As the score."""
    steps_won: float | None
    """Mean over successful episodes; None without any."""
    means: Mapping[str, float]
    """Field of `COUNTED`, ``seconds`` or ``{phase}_seconds`` -> its mean over the episodes that have it."""


@dataclass(frozen=True)
class Comparison:
    """Two arms on the items that both have tried."""

    first: str
    second: str
    group: str
    about: str
    """``"channel"`` (two channels), ``"control"`` (a channel against a control) or ``"floor"`` (a control against no
    message)."""
    items: int
    difference: Interval
    """Success rate of the first minus the second's, with its paired 95 % bootstrap interval."""
    test: PairedTest
    """Exact two-sided McNemar test over items."""
    adjusted: float
    """p value after Holm's correction over all comparisons of the group."""


Entry = TypeVar("Entry", Row, Comparison)


@dataclass(frozen=True)
class Summary:
    """All rows and comparisons of an evaluation."""

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    groups: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    step_caps: tuple[int, ...]
    config_hashes: tuple[str, ...]
    donors: tuple[DonorRow, ...] = ()
    """What every channel answers to the messages of other items, over all groups together."""

    def on(self, group: str) -> list[Row]:
        """The rows of one group, in table order."""
        return [row for row in self.rows if row.group == group]

    def by_group(self, found: Sequence[Entry]) -> dict[str, list[Entry]]:
        """Rows or comparisons by their group."""
        return {group: [one for one in found if one.group == group] for group in self.groups}

    @property
    def repeated(self) -> bool:
        """Whether some item was tried under several seeds."""
        return any(row.episodes > row.items for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers, for JSON; the means stand among the other fields of a row, and
        ``sampled`` where there is such a thing."""
        found = dataclasses.asdict(self)
        for row in found["rows"]:
            row |= row.pop("means")
            if row["sampled"] is None:
                del row["sampled"]
        return found


Pairs = Callable[[Sequence[Arm]], list[tuple[Arm, Arm, str]]]
"""Which arms are compared with each other: (first, second, `Comparison.about`)."""


def general(record: Record) -> dict[str, Any]:
    """A record in the general format, whichever version wrote it.

    What older records call ``message_rows`` is ``latents``, their ``sender_seconds``, ``receiver_seconds`` and
    ``world_seconds`` are phases of ``seconds``, and the channel and control follow from the variant. One number of
    seconds is a phase of its own, ``total``.
    """
    found = {**_DEFAULTS, **record}
    variant = found["variant"]
    if "channel" not in found:
        control = is_control(variant)
        found |= {"channel": "" if control else variant, "control": variant if control else ""}
    if "latents" not in found and "message_rows" in found:
        found["latents"] = found["message_rows"]
    phases = {"sender": "sender_seconds", "receiver": "receiver_seconds", "environment": "world_seconds"}
    seconds = found.get("seconds", {phase: found[old] for phase, old in phases.items() if old in found})
    found["seconds"] = dict(seconds) if isinstance(seconds, Mapping) else {"total": float(seconds)}
    return found


def check_records(records: Sequence[Record], needed: Sequence[str] = NEEDED) -> None:
    """Refuse records that cannot be summarised.

    Raises:
        InputError: no records, a field that is missing, or an episode that is there twice.
    """
    if not records:
        raise InputError("there are no result records: nothing was played, so there is nothing to report")
    seen: dict[tuple[Any, ...], Record] = {}
    for number, record in enumerate(records, 1):
        missing = [field for field in needed if field not in record]
        if missing:
            raise InputError(
                f"result record {number} lacks {', '.join(missing)}; give the results.jsonl of `interlat evaluate`"
            )
        key = (record.get("split"), record["item"], record["variant"], record.get("seed"))
        if key in seen:
            raise InputError(
                f"item {record['item']!r} is there twice for variant {record['variant']!r}, seed {record.get('seed')} "
                f"(configurations {seen[key].get('config_hash')} and {record.get('config_hash')}); "
                "report one at a time"
            )
        seen[key] = record


def arms_of(records: Sequence[Record]) -> list[Arm]:
    """The arms of some records, sorted by role; within a role they keep the order of the records.

    A control is one by its name, or any channel whose receiver was given nothing (a receiver trained on messages that
    acts without one). A message cut or rounded by a control is a latent one still.
    """
    of: dict[str, list[dict[str, Any]]] = {}
    for record in map(general, records):
        of.setdefault(record["variant"], []).append(record)
    arms = []
    for variant, found in of.items():
        channel, control = found[0]["channel"], found[0]["control"]
        kinds = {record["message_kind"] for record in found}
        # A sender that wrote nothing for some items sent no message there.
        role = "text" if kinds - {"none"} == {"text"} else "latent"
        if variant == "none":
            role = "none"
        elif (control and not shortens(control)) or kinds == {"none"}:
            role = "control"
        arms.append(Arm(variant, role, channel, control))
    return sorted(arms, key=lambda arm: ROLES.index(arm.role))


def groups_of(records: Sequence[Record], by: str = "split") -> tuple[str, ...]:
    """The values of a field of the records, then `ALL` if there are several."""
    names = {_group(record, by) for record in records}
    place = {name: number for number, name in enumerate(_SPLIT_ORDER)}
    found = sorted(names, key=lambda name: (place.get(name, len(place)), name))
    return tuple(found) if len(found) == 1 else (*found, ALL)


def _group(record: Record, by: str) -> str:
    name = str(record.get(by, ""))
    return f"level {name}" if name and by == LEVEL else name


def controls_of(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The controls of the channel of an arm; a control that names no channel is one of every latent channel."""
    of_any = "" if arm.role == "latent" else arm.channel
    return [other for other in arms if other.role == "control" and other.channel in (arm.channel, of_any)]


def channel_pairs(arms: Sequence[Arm]) -> list[tuple[Arm, Arm, str]]:
    """Every channel against none and against its own controls, and every latent channel against text."""
    of = {role: [arm for arm in arms if arm.role == role] for role in ROLES}
    sent = of["text"] + of["latent"]
    pairs = [(arm, none, "channel") for arm in sent for none in of["none"]]
    pairs += [(latent, text, "channel") for latent in of["latent"] for text in of["text"]]
    return pairs + [(arm, control, "control") for arm in sent if not arm.control for control in controls_of(arm, arms)]


def _by_item(records: Sequence[Record], field: str) -> list[float]:
    """The mean of a field for each item, over its seeds."""
    return [statistics.fmean(float(record[field]) for record in found) for found in _items(records)]


def _items(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each item."""

    def item(record: Record) -> tuple[str, str]:
        return record["split"], record["item"]

    return [list(found) for _, found in groupby(sorted(records, key=item), item)]


def _sampled(records: Sequence[Record]) -> Sampled | None:
    """Majority vote and pass@k, where every record has an answer, or failed without one, and every item several.

    Of an item with n answers, c of them right, one of k is right with the chance 1 - C(n - c, k) / C(n, k), which is
    unbiased for any n >= k. Source: M. Chen et al. (2021), arXiv 2107.03374, equation 1.
    """
    of = _items(records)
    fewest = min(map(len, of))
    if fewest < 2 or any("given" not in record and not record["failure"] for record in records):
        return None
    right = [(len(found), sum(bool(record["success"]) for record in found)) for found in of]

    def passed(k: int) -> Interval:
        chances = (1 - math.comb(n - c, k) / math.comb(n, k) for n, c in right)
        return wilson_interval(math.fsum(chances), len(right))

    powers = (2**exponent for exponent in range(fewest.bit_length()))
    return Sampled(
        answers=fewest,
        majority=wilson_interval(math.fsum(map(_voted, of)), len(of)),
        pass_at={k: passed(k) for k in sorted({*powers, fewest})},
    )


def _voted(records: Sequence[Record]) -> float:
    """How far the most frequent answer to an item is right; where nothing was answered, that is an answer, too."""
    votes = Counter(given_answer(record) for record in records)
    is_right = {given_answer(record): float(record["success"]) for record in records}
    return statistics.fmean(is_right[answer] for answer, count in votes.items() if count == max(votes.values()))


def _interval(records: Sequence[Record], field: str) -> Interval | None:
    known = [record for record in records if record.get(field) is not None]
    return mean_interval(_by_item(known, field)) if known else None


def _costs(record: Record) -> dict[str, float]:
    phases = record["seconds"]
    counted = {name: record[name] for name in COUNTED if record.get(name) is not None}
    counted |= {name: value for name, value in record.items() if name.endswith("_seconds")}
    total = {"seconds": sum(phases.values())} if phases else {}
    return counted | total | {f"{phase}_seconds": seconds for phase, seconds in phases.items()} | exploration(record)


def exploration(record: Record) -> dict[str, float]:
    """What an episode of several actions tried: different actions, actions that had been taken before, and different
    places that it tried to go to. Empty for a question, which has one action.
    """
    if record.get("max_steps", 1) <= 1 or not record.get("turns"):
        return {}
    actions = [turn["action"].strip().rstrip(".").lower() for turn in record["turns"]]
    distinct = set(actions)
    return {
        "distinct_actions": len(distinct),
        "repeated_actions": len(actions) - len(distinct),
        "distinct_places": sum(action.startswith(_GOES) for action in distinct),
    }


def _row(arm: Arm, group: str, controlled: bool, records: Sequence[Record]) -> Row:
    won = [record for record in records if record["success"]]
    steps_won = [record["steps"] for record in won if record.get("steps") is not None]
    costs = [_costs(record) for record in records]
    names = dict.fromkeys(name for of in costs for name in of)
    rates = _by_item(records, "success")
    return Row(
        variant=arm.variant,
        role=arm.role,
        group=group,
        controlled=controlled,
        items=len(rates),
        episodes=len(records),
        failures=sum(bool(record["failure"]) for record in records),
        success=wilson_interval(math.fsum(rates), len(rates)),
        sampled=_sampled(records),
        score=_interval(records, "score"),
        steps=_interval(records, "steps"),
        steps_won=statistics.fmean(steps_won) if steps_won else None,
        means={name: statistics.fmean(of[name] for of in costs if name in of) for name in names},
    )


def _shared(ours: Sequence[Record], theirs: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Success on each item that both arms tried under the same seed, averaged over its seeds."""
    first, second = ({(r["split"], r["item"], r["seed"]): r for r in of} for of in (ours, theirs))
    shared = first.keys() & second.keys()
    return _by_item([first[key] for key in shared], "success"), _by_item([second[key] for key in shared], "success")


def summarise(
    records: Sequence[Record], *, by: str = "split", pairs: Pairs = channel_pairs, needed: Sequence[str] = NEEDED
) -> Summary:
    """Summarise result records.

    Rates get Wilson intervals over items. Differences are paired by item and seed, averaged over the seeds of an
    item, and resampled and tested over items, so repeated items do not count as new evidence.

    Args:
        records: of one configuration, of this or an older version (see `general`).
        by: the field that items are grouped by, ``split``, ``task_type`` or ``level``; all together come last.
        pairs: which arms are compared with each other.
        needed: the fields that every record must have.

    Raises:
        InputError: as `check_records`.
    """
    check_records(records, needed)
    known = [general(record) for record in records]
    arms, groups = arms_of(known), groups_of(known, by)
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    for group in groups:
        chosen = [record for record in known if group in (_group(record, by), ALL)]
        of = {arm.variant: [record for record in chosen if record["variant"] == arm.variant] for arm in arms}
        here = [arm for arm in arms if of[arm.variant]]
        for arm in here:
            controlled = arm.role not in ("text", "latent") or bool(controls_of(arm, here))
            rows.append(_row(arm, group, controlled, of[arm.variant]))
        compared = []
        for first, second, about in pairs(here):
            one, two = _shared(of[first.variant], of[second.variant])
            if one:
                difference, test = paired_difference(one, two), mcnemar_exact(one, two)
                found = Comparison(
                    first.variant, second.variant, group, about, len(one), difference, test, test.p_value
                )
                compared.append(found)
        corrected = holm([comparison.test.p_value for comparison in compared])
        comparisons += [dataclasses.replace(found, adjusted=p) for found, p in zip(compared, corrected, strict=True)]
    return Summary(
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        groups=groups,
        variants=tuple(arm.variant for arm in arms),
        seeds=tuple(sorted({record["seed"] for record in known})),
        step_caps=tuple(sorted({record["max_steps"] for record in known if "max_steps" in record})),
        config_hashes=tuple(sorted({record["config_hash"] for record in known})),
        donors=donor_rows(known),
    )
