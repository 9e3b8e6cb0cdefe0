"""Does a channel communicate? What a receiver answers when it gets the message of another item, the donor's.

A gain at a task does not show that the receiver read the message. Two measures look at single answers instead: how
often the answer changes when the message is replaced by the donor's, and how often it follows the donor, that is, gives
what the donor's message stands for. Both are asked for by "Do Latent Channels Actually Communicate?" (arXiv
2607.26773).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from interlat.evaluation.statistics import AssignmentTest, Interval, assignment_test, holm, wilson_interval
from interlat.tasks.grading import comparable_answer

Verdict = Literal["alive", "dead", "reacts", "undecided"]
LEVEL = 0.05
"""Of the tests, after Holm's correction."""
SELDOM = 0.25
"""An answer that changes less often than this, at the upper end of its interval, does not depend on the message."""
ENOUGH = 12
"""Fewer items than this tell nothing without a following."""
_OWN_ARMS = ("latent", "team")
"""Arms with the true message, of controls that do not name their channel: of the household, and of teams."""
MEANINGS: Mapping[Verdict, str] = {
    "alive": "answers follow the donor more often than chance (permutation test, Holm, p < 0.05)",
    "dead": f"answers do not follow, and change for less than {SELDOM:.0%} of the items (95 % interval)",
    "reacts": "answers change, but not to what the donor's message stands for",
    "undecided": "too few items to tell",
}


@dataclass(frozen=True)
class DonorRow:
    """One channel whose messages were replaced by those of other items."""

    channel: str
    """The arm with the true messages."""
    control: str
    """The arm with the donors' messages."""
    items: int
    """Items that have an answer in both arms."""
    changed: Interval
    """How often the answer is another one under the donor's message, with its 95 % Wilson interval."""
    right: AssignmentTest
    """Answers that are the donor's right answer, of items whose own right answer is another one."""
    own: AssignmentTest
    """Answers that the receiver gives to the donor under the donor's message, of items where its own answer is
    another one."""
    p_value: float
    """The smaller one of both tests after Holm's correction over all tests of all channels."""
    verdict: Verdict
    """See `MEANINGS`."""


@dataclass(frozen=True)
class _Swap:
    """One item under the donor's message; answers are comparable, and empty where they are not known."""

    under_own: str
    under_donors: str
    right: str
    donors_right: str
    donors_own: str


def donor_rows(records: Sequence[Mapping[str, Any]]) -> tuple[DonorRow, ...]:
    """How every channel answers to the messages of other items; empty where no message was swapped.

    The answer of a record is its field ``given``, and without one its first action. Records whose episode failed, or
    that do not name their ``donor`` (those of older versions), are left out.

    Args:
        records: result records of one configuration.
    """
    played: dict[tuple[str, Any, str], Mapping[str, Any]] = {}
    for record in records:
        if not record.get("failure"):
            played[record["variant"], record.get("seed"), record["item"]] = record
    variants = dict.fromkeys(record["variant"] for record in records)
    swaps: dict[tuple[str, str], list[_Swap]] = {}
    for (variant, seed, item), record in played.items():
        own_arm = _own_arm(record, variants)
        own = played.get((own_arm, seed, item))
        if "donor" not in record or own is None:
            continue
        donors = played.get((own_arm, seed, record["donor"]))
        swap = _Swap(
            under_own=given_answer(own),
            under_donors=given_answer(record),
            right=comparable_answer(str(record.get("answer", ""))),
            donors_right=comparable_answer(str(record["donor_answer"])),
            donors_own="" if donors is None else given_answer(donors),
        )
        swaps.setdefault((own_arm, variant), []).append(swap)
    return _corrected([_row(*names, found) for names, found in swaps.items()])


def _own_arm(record: Mapping[str, Any], variants: Mapping[str, None]) -> str:
    """The arm with the true messages of a record's channel; empty where there is none."""
    # The arms of pairs are called ``channel/control``.
    names = (record.get("channel", ""), *(() if "/" in record["variant"] else _OWN_ARMS))
    return next((name for name in names if name in variants and name != record["variant"]), "")


def given_answer(record: Mapping[str, Any]) -> str:
    """What a record answers, for comparison: its field ``given``, and without one its first action."""
    if "given" in record:
        return comparable_answer(record["given"])
    turns = record.get("turns") or [{"action": record.get("reply", "")}]
    return comparable_answer(turns[0]["action"])


def _row(channel: str, control: str, swaps: Sequence[_Swap]) -> DonorRow:
    given = np.array([swap.under_donors for swap in swaps])
    changed = sum(swap.under_donors != swap.under_own for swap in swaps)
    right = _followed(given, [swap.donors_right for swap in swaps], [swap.right for swap in swaps])
    own = _followed(given, [swap.donors_own for swap in swaps], [swap.under_own for swap in swaps])
    return DonorRow(channel, control, len(swaps), wilson_interval(changed, len(swaps)), right, own, 1.0, "undecided")


def _followed(given: np.ndarray, targets: Sequence[str], without: Sequence[str]) -> AssignmentTest:
    """How often an answer is the target of its donor, where that is known and is not the answer anyway."""
    target, anyway = np.array(targets), np.array(without)
    tells = (target[None, :] != anyway[:, None]) & (target != "")[None, :]
    return assignment_test(given[:, None] == target[None, :], tells)


def _corrected(rows: Sequence[DonorRow]) -> tuple[DonorRow, ...]:
    adjusted = holm([test.p_value for row in rows for test in (row.right, row.own)])
    found = []
    for place, row in enumerate(rows):
        p_value = min(adjusted[2 * place : 2 * place + 2])
        found.append(replace(row, p_value=p_value, verdict=_verdict(p_value, row)))
    return tuple(found)


def _verdict(p_value: float, row: DonorRow) -> Verdict:
    if p_value < LEVEL:
        return "alive"
    if row.items >= ENOUGH and row.changed.high < SELDOM:
        return "dead"
    telling = max(row.right.pairs, row.own.pairs)
    return "reacts" if telling >= ENOUGH and row.changed.low > SELDOM else "undecided"
