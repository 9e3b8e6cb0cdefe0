"""The numbers of a run: one row a variant and split, and the paired comparisons that matter."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from interlat.controls.latents import is_control, shortens
from interlat.errors import InputError
from interlat.evaluation.statistics import (
    Interval,
    PairedTest,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    wilson_interval,
)

Record = Mapping[str, Any]
"""One episode: a line of ``results.jsonl``."""

ALL_SPLITS = "all"
"""The row of all splits together, where there are several."""
ROLES = ("none", "text", "latent", "control")
"""What a variant is for, in the order of tables and figures."""

_NEEDED = (
    *("item", "variant", "split", "task_type", "success", "steps", "max_steps", "seed", "config_hash"),
    *("message_kind", "message_bytes", "message_rows", "prompt_tokens", "decoded_tokens", "sender_tokens"),
    *("sender_seconds", "receiver_seconds", "plan", "turns"),
)
_SPLIT_ORDER = ("train", "seen", "unseen")
_BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Row:
    """What the episodes of one variant on one split gave and cost; means are over episodes."""

    variant: str
    role: str
    """One of `ROLES`."""
    split: str
    controlled: bool
    """False for a latent variant that has no control on this split."""
    games: int
    episodes: int
    """More than ``games`` if games were played under several seeds."""
    success: Interval
    """Rate with its 95 % Wilson interval."""
    steps: Interval
    """Mean with its 95 % bootstrap interval over games."""
    steps_won: float | None
    """Mean over won episodes; None without any."""
    sender_seconds: float
    receiver_seconds: float
    message_bytes: float
    message_rows: float
    sender_tokens: float
    """Tokens that the sender read and wrote."""
    prompt_tokens: float
    decoded_tokens: float
    """Tokens that the receiver wrote."""


@dataclass(frozen=True)
class Comparison:
    """Two variants on the games that both have played."""

    first: str
    second: str
    split: str
    about: str
    """``"channel"`` (latent, text and none among each other), ``"control"`` (latent against a control) or
    ``"floor"`` (a control against none)."""
    games: int
    difference: Interval
    """Success rate of the first minus that of the second, with its paired 95 % bootstrap interval."""
    test: PairedTest
    """Exact two-sided McNemar test over games."""


@dataclass(frozen=True)
class Summary:
    """All rows and comparisons of a run."""

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    splits: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    step_caps: tuple[int, ...]
    config_hashes: tuple[str, ...]

    def on(self, split: str) -> list[Row]:
        """The rows of one split, in table order."""
        return [row for row in self.rows if row.split == split]

    @property
    def uncontrolled(self) -> bool:
        """Whether some latent result stands without a control."""
        return not all(row.controlled for row in self.rows)

    @property
    def repeated(self) -> bool:
        """Whether some game was played under several seeds: its episodes are then not independent."""
        return any(row.episodes > row.games for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers, for JSON."""
        return {**dataclasses.asdict(self), "uncontrolled": self.uncontrolled}


def check_records(records: Sequence[Record]) -> None:
    """Refuse records that cannot be summarised.

    Raises:
        InputError: no records, a field that is missing, or an episode that is there twice.
    """
    if not records:
        raise InputError("there are no result records: nothing was played, so there is nothing to report")
    seen: dict[tuple[Any, ...], Record] = {}
    for number, record in enumerate(records, 1):
        missing = [field for field in _NEEDED if field not in record]
        if missing:
            raise InputError(
                f"result record {number} lacks {', '.join(missing)}; give the results.jsonl of `interlat evaluate`"
            )
        key = (record["split"], record["item"], record["variant"], record["seed"])
        if key in seen:
            raise InputError(
                f"item {record['item']!r} is there twice for variant {record['variant']!r}, seed {record['seed']} "
                f"(configurations {seen[key]['config_hash']} and {record['config_hash']}); report one at a time"
            )
        seen[key] = record


def role_of(variant: str, message_kinds: set[str]) -> str:
    """What a variant is for: a name of `ROLES`.

    A control is one by name, or a variant other than ``none`` whose receiver was given nothing (an actor trained
    on messages that plays without one). A message cut or rounded is a latent one still.
    """
    if variant == "none":
        return "none"
    if (is_control(variant) and not shortens(variant)) or message_kinds == {"none"}:
        return "control"
    return "text" if message_kinds == {"text"} else "latent"


def roles_of(records: Sequence[Record]) -> dict[str, str]:
    """Variant -> role, sorted by role; within a role, variants keep the order of the records."""
    kinds: dict[str, set[str]] = {}
    for record in records:
        kinds.setdefault(record["variant"], set()).add(record["message_kind"])
    roles = {variant: role_of(variant, found) for variant, found in kinds.items()}
    return dict(sorted(roles.items(), key=lambda entry: ROLES.index(entry[1])))


def splits_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The splits of the records, then `ALL_SPLITS` if there are several."""
    found = sorted(
        {record["split"] for record in records},
        key=lambda split: (_SPLIT_ORDER.index(split) if split in _SPLIT_ORDER else len(_SPLIT_ORDER), split),
    )
    return tuple(found) if len(found) == 1 else (*found, ALL_SPLITS)


def _by_game(records: Sequence[Record], field: str) -> list[float]:
    """The mean of a field for each game, over its seeds."""
    games: dict[tuple[str, str], list[float]] = {}
    for record in records:
        games.setdefault((record["split"], record["item"]), []).append(float(record[field]))
    return [statistics.fmean(values) for _, values in sorted(games.items())]


def _row(variant: str, role: str, split: str, controlled: bool, records: Sequence[Record]) -> Row:
    def mean(field: str) -> float:
        return statistics.fmean(record[field] for record in records)

    won = [record["steps"] for record in records if record["success"]]
    return Row(
        variant=variant,
        role=role,
        split=split,
        controlled=controlled,
        games=len(_by_game(records, "steps")),
        episodes=len(records),
        success=wilson_interval(len(won), len(records)),
        steps=mean_interval(_by_game(records, "steps"), seed=_BOOTSTRAP_SEED),
        steps_won=statistics.fmean(won) if won else None,
        sender_seconds=mean("sender_seconds"),
        receiver_seconds=mean("receiver_seconds"),
        message_bytes=mean("message_bytes"),
        message_rows=mean("message_rows"),
        sender_tokens=mean("sender_tokens"),
        prompt_tokens=mean("prompt_tokens"),
        decoded_tokens=mean("decoded_tokens"),
    )


def _pairs(roles: Mapping[str, str]) -> list[tuple[str, str, str]]:
    of = {role: [variant for variant, found in roles.items() if found == role] for role in ROLES}
    pairs = [(one, other, "channel") for one, other in combinations(of["latent"], 2)]
    pairs += [(latent, text, "channel") for latent in of["latent"] for text in of["text"]]
    pairs += [(sent, none, "channel") for sent in of["text"] + of["latent"] for none in of["none"]]
    pairs += [(latent, control, "control") for latent in of["latent"] for control in of["control"]]
    pairs += [(control, none, "floor") for control in of["control"] for none in of["none"]]
    return pairs


def _compare(first: str, second: str, split: str, about: str, records: Sequence[Record]) -> Comparison | None:
    def by_key(variant: str) -> dict[tuple[str, str, int], Record]:
        return {(r["split"], r["item"], r["seed"]): r for r in records if r["variant"] == variant}

    ours, theirs = by_key(first), by_key(second)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    one = _by_game([ours[key] for key in shared], "success")
    two = _by_game([theirs[key] for key in shared], "success")
    return Comparison(
        first=first,
        second=second,
        split=split,
        about=about,
        games=len(one),
        difference=paired_difference(one, two, seed=_BOOTSTRAP_SEED),
        test=mcnemar_exact(one, two),
    )


def summarise(records: Sequence[Record]) -> Summary:
    """Summarise result records.

    Rates get Wilson intervals over episodes. Differences are paired by game and seed, averaged over the seeds
    of a game, and resampled and tested over games, so repeated games do not count as new evidence.

    Raises:
        InputError: as `check_records`.
    """
    check_records(records)
    roles, splits = roles_of(records), splits_of(records)
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    for split in splits:
        chosen = [record for record in records if split in (record["split"], ALL_SPLITS)]
        played = {record["variant"] for record in chosen}
        has_control = any(roles[variant] == "control" for variant in played)
        for variant, role in roles.items():
            if variant in played:
                episodes = [record for record in chosen if record["variant"] == variant]
                rows.append(_row(variant, role, split, has_control or role != "latent", episodes))
        found = [_compare(first, second, split, about, chosen) for first, second, about in _pairs(roles)]
        comparisons += [comparison for comparison in found if comparison is not None]
    return Summary(
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        splits=splits,
        variants=tuple(roles),
        seeds=tuple(sorted({record["seed"] for record in records})),
        step_caps=tuple(sorted({record["max_steps"] for record in records})),
        config_hashes=tuple(sorted({record["config_hash"] for record in records})),
    )
