"""Does a pair of models deliver messages at all? Checks of two small evaluations of secret contents.

In one the receiver speaks to itself, in the other one the sender speaks to it. Nothing is trained, so that a training
begins with a delivery that is known to work, or does not begin. The order of the controls (a pair of one model with
itself, zeros, the identity, noise of equal norm) follows the practice of qualifying a channel before it is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interlat.evaluation.statistics import mcnemar_exact
from interlat.report.donors import ENOUGH, LEVEL, MEANINGS, donor_rows, given_answer

ALIKE = 0.9
"""Least share of equal answers under words and under their embeddings. Rounding and another cut into tokens explain a
few other ones."""
EMBEDDING_CONTROLS = ("embeddings/zeros", "embeddings/random_rotation")
UNSENT = (
    "the sender wrote no plan for most secrets (failure and plan in results.jsonl say why): a model that thinks first "
    "needs --template.enable-thinking False or a larger --max-plan-tokens"
)
Found = Literal["yes", "no", "untold"]


@dataclass(frozen=True)
class Check:
    """One question about a pair, and its answer."""

    name: str
    """The question."""
    found: Found
    """untold: it was not tried, or cannot be asked after what came before."""
    numbers: str
    """What it was found from."""
    advice: str = ""
    """What to do where the answer is no."""
    needed: bool = True
    """Whether nothing should be trained before the answer is yes."""


def checks_of(alone: Sequence[Mapping[str, Any]], pair: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The checks of a pair.

    Args:
        alone: results in which the receiver was the sender too, with the channels none, text, embeddings, hidden and
            cache, and controls.
        pair: results of the sender and the receiver, with the channels text and hidden, and the control cross_task.
    """
    pair = [*pair, *(line for line in alone if line["variant"] == "none")]
    return [
        _answers(
            alone, "text", "the receiver answers from its own words",
            "the receiver does not use a text that it is given, so no channel can be measured with it: take a larger "
            "one, or other templates (--sender-template, --receiver-template)",
        ),
        _alike(alone),
        *(_silent(alone, control) for control in EMBEDDING_CONTROLS),
        _answers(
            alone, "cache", "the receiver answers from its own cache",
            "a cache does not arrive as it was sent: report it with the name of the model",
        ),
        _follows(alone, "hidden", "the receiver reads its own states untrained"),
        _answers(
            pair, "text", "the receiver answers from the sender's words",
            "the sender does not say what it was told: take another sender, or another --sender-template",
        ),
        _follows(pair, "hidden", "the receiver reads the sender's states untrained"),
    ]  # fmt: skip


def is_sound(checks: Sequence[Check]) -> bool:
    """Whether all that is needed was found."""
    return all(check.found == "yes" for check in checks if check.needed)


def _by_item(records: Sequence[Mapping[str, Any]], variant: str) -> dict[str, Mapping[str, Any]]:
    return {line["item"]: line for line in records if line["variant"] == variant}


def _sent(line: Mapping[str, Any]) -> bool:
    """Whether a message travelled, and an episode was played with it."""
    return not line["failure"] and line["message_kind"] != "none"


def _successes(records: Sequence[Mapping[str, Any]], first: str, second: str) -> tuple[list[bool], list[bool]]:
    """Success under two arms, of the items that both have."""
    ours, theirs = _by_item(records, first), _by_item(records, second)
    both = [item for item in ours if item in theirs]
    return [ours[item]["success"] for item in both], [theirs[item]["success"] for item in both]


def _untold(name: str, numbers: str, *, needed: bool = True) -> Check:
    return Check(name, "untold", numbers, needed=needed)


def _answers(records: Sequence[Mapping[str, Any]], arm: str, name: str, advice: str) -> Check:
    """Does an arm answer more often than no message?"""
    with_message, without = _successes(records, arm, "none")
    if not with_message:
        return _untold(name, f"no results of {arm}")
    test = mcnemar_exact(with_message, without)
    is_more = test.p_value < LEVEL and test.first_better > test.second_better
    numbers = f"{_of(with_message)} with {arm}, {_of(without)} with nothing"
    unsent = sum(not _sent(line) for line in _by_item(records, arm).values())
    if unsent:
        numbers += f"; {unsent} without a message"
    if 2 * unsent > len(with_message):
        advice = UNSENT
    return Check(name, "yes" if is_more else "no", numbers, "" if is_more else advice)


def _alike(records: Sequence[Mapping[str, Any]]) -> Check:
    """Do latents that are words give the answers of these words?"""
    name = "rows arrive as they were sent"
    words, rows = _by_item(records, "text"), _by_item(records, "embeddings")
    both = [item for item in words if item in rows and _sent(words[item]) and _sent(rows[item])]
    if len(both) < ENOUGH:
        return _untold(name, f"{len(both)} answers under text and embeddings, at least {ENOUGH} are needed")
    same = sum(given_answer(words[item]) == given_answer(rows[item]) for item in both)
    is_alike = same >= ALIKE * len(both)
    advice = "" if is_alike else "no training mends this: report it with the name of the model"
    numbers = f"{same} of {len(both)} answers under input embeddings are those under the words"
    return Check(name, "yes" if is_alike else "no", numbers, advice)


def _silent(records: Sequence[Mapping[str, Any]], control: str) -> Check:
    """Does an arm that says nothing answer no more often than no message?"""
    name = f"{control.partition('/')[2]} says nothing"
    with_control, without = _successes(records, control, "none")
    if not with_control:
        return _untold(name, f"no results of {control}")
    test = mcnemar_exact(with_control, without)
    leaks = test.p_value < LEVEL and test.first_better > test.second_better
    advice = "something else than the message tells the answer: look at the prompts in results.jsonl" if leaks else ""
    return Check(
        name, "no" if leaks else "yes", f"{_of(with_control)} with {control}, {_of(without)} with nothing", advice
    )


def _follows(records: Sequence[Mapping[str, Any]], channel: str, name: str) -> Check:
    """Do answers follow the donor's message?"""
    row = next((one for one in donor_rows(records) if one.channel == channel), None)
    if row is None:
        return _untold(name, f"no results of {channel} and {channel}/cross_task", needed=False)
    right = sum(line["success"] for line in _by_item(records, channel).values() if _sent(line))
    numbers = f"{right} of {row.items} right; {row.verdict}: {MEANINGS[row.verdict]}"
    found: Found = "yes" if row.verdict == "alive" else "untold" if row.verdict == "undecided" else "no"
    advice = "" if found != "no" else "train the receiver (interlat train actor) before it gets such messages"
    return Check(name, found, numbers, advice, needed=False)


def _of(successes: Sequence[bool]) -> str:
    return f"{sum(successes)} of {len(successes)} right"
