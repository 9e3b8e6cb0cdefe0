"""Whether an environment works: its expert solves the items, and a random player does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from interlat.environments.protocol import Environment, Item, Outcome, PlaysItself, Policy
from interlat.errors import InputError

PLAYED_AT_ONCE = 32


@dataclass(frozen=True)
class ItemVerification:
    """What two players made of one item."""

    item: str
    expert_solved: bool
    expert_score: float
    random_score: float
    steps: int
    """Actions of both players."""


def verified(environment: Environment, items: Sequence[Item], seed: int) -> Iterator[ItemVerification]:
    """Play the items with the environment's expert, and again with its random player.

    Raises:
        InputError: the environment has no such players.
    """
    if not isinstance(environment, PlaysItself):
        raise InputError(
            f"{environment.name} has no players of its own, expected the methods expert_policy and random_policy; "
            "an environment without them can be played, but not verified"
        )
    for begin in range(0, len(items), PLAYED_AT_ONCE):
        chosen = items[begin : begin + PLAYED_AT_ONCE]
        solved = play(environment, chosen, {item.id: environment.expert_policy(item) for item in chosen})
        drawn = play(environment, chosen, {item.id: environment.random_policy(item, seed) for item in chosen})
        for item, best, worst in zip(chosen, solved, drawn, strict=True):
            yield ItemVerification(item.id, best.success, score(best), score(worst), best.steps + worst.steps)


def play(environment: Environment, items: Sequence[Item], policies: Mapping[str, Policy]) -> list[Outcome]:
    """Play an episode of each item, side by side, with the policy of its id; the last outcomes, in order."""
    outcomes = dict(zip([item.id for item in items], environment.start(items), strict=True))
    going = list(items)
    while going:
        replies = [policies[item.id](outcomes[item.id]) for item in going]
        outcomes.update(zip([item.id for item in going], environment.step(going, replies), strict=True))
        going = [one for one in going if not outcomes[one.id].done and outcomes[one.id].steps < one.max_steps]
    return [outcomes[item.id] for item in items]


def score(outcome: Outcome) -> float:
    """The finer measure where there is one, else 1 for success and 0."""
    return float(outcome.success) if outcome.score is None else outcome.score
