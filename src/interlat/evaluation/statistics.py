"""Statistics of rates, means and their differences: confidence intervals and exact tests.

No function assumes that the data are normal. Rates have Wilson intervals, means and paired differences have percentile
bootstrap intervals over items, and the paired tests are exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from interlat.errors import InputError

_CELLS_PER_CHUNK = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """The outcome of an exact paired test."""

    first_better: int
    """Number of items with a higher first score."""
    second_better: int
    """Number of items with a higher second score."""
    p_value: float
    """Two-sided probability of a result at least this extreme if both were equally good."""


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise InputError(f"the confidence is {confidence}; give a number between 0 and 1, such as 0.95")


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median, with an interval of order statistics that has at least ``confidence`` coverage for any distribution.

    The ends are the l-th smallest and the l-th largest value, with the largest l for which a binomial(n, 1/2) variable
    is below l with probability at most (1 - confidence) / 2. If there is no such l, they are the smallest and the
    largest value.

    Raises:
        InputError: there are no values, or the confidence is outside (0, 1).
    """
    _check_confidence(confidence)
    if not values:
        raise InputError("no values to take the median of; give at least one")
    ordered, count = sorted(values), len(values)
    below, rank = 0.0, 0
    for number in range(count // 2):
        below += math.comb(count, number) / 2**count
        if below > (1.0 - confidence) / 2.0:
            break
        rank = number
    return Interval(float(np.median(ordered)), ordered[rank], ordered[count - 1 - rank])


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a rate.

    With rate p = successes / n and z the normal quantile of (1 + confidence) / 2, the ends are::

        (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Source: E. B. Wilson (1927), JASA 22:209-212, equation for the roots of the score test.

    Args:
        successes: a whole number, or the sum of one rate for each trial. For rates the interval is conservative: their
            mean varies less than a mean of zeros and ones.
        trials: number of trials n.
        confidence: level of the interval.

    Raises:
        InputError: there are no trials, the count is outside ``0..trials``, or the confidence is outside (0, 1).
    """
    _check_confidence(confidence)
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError(f"{successes} successes of {trials} trials is not a rate; give 0 <= successes <= trials")
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    rate = successes / trials
    scale = 1.0 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1.0 - rate) / trials + z * z / (4 * trials * trials)) / scale
    # At the borders one root is exactly 0 or 1; rounding must not push it past the estimate.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(rate, low, high)


def _scores(values: Sequence[float], name: str) -> np.ndarray:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise InputError(f"{name} holds no scores; give one number for each item")
    if not np.isfinite(scores).all():
        raise InputError(f"{name} holds a value that is not finite; remove or repeat the failed items first")
    return scores


def _paired_scores(first: Sequence[float], second: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = _scores(first, "the first sample"), _scores(second, "the second sample")
    if ours.size != theirs.size:
        raise InputError(f"paired samples have {ours.size} and {theirs.size} scores; give both for the same items")
    return ours, theirs


def mcnemar_exact(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """The exact two-sided McNemar test of two samples paired by item.

    Ties are ignored. Of the n = b + c other items the first sample wins b. Under the null hypothesis b is
    Binomial(n, 1/2), so p = min(1, 2 Σ_{i ≤ min(b,c)} C(n, i) / 2^n), computed in whole numbers. For scores other than
    0 and 1 this is the exact sign test, which ignores the size of the differences. For means over several trainings use
    `sign_flip_exact`.

    Source: Q. McNemar (1947), Psychometrika 12:153-157, in its binomial form.

    Args:
        first: one score for each item.
        second: the scores of the same items, in the same order.

    Raises:
        InputError: the samples are empty, not finite, or of different length.
    """
    ours, theirs = _paired_scores(first, second)
    better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
    discordant = better + worse
    tail = sum(math.comb(discordant, count) for count in range(min(better, worse) + 1))
    return PairedTest(better, worse, min(2 * tail, 2**discordant) / 2**discordant)


def sign_flip_exact(first: Sequence[float], second: Sequence[float], denominator: int) -> PairedTest:
    """The exact two-sided sign-flip test of the mean difference of two samples paired by item.

    Under the null hypothesis the two scores of an item could be exchanged, so each of the 2^n choices of signs s_i is
    equally likely for the differences d_i, and p = P(abs(Σ s_i d_i) ≥ abs(Σ d_i)). The differences are whole multiples
    of ``1 / denominator``, so the distribution of the sum is that of n steps of a random walk. For scores of 0 and 1
    it is McNemar's test.

    Source: R. A. Fisher (1935), The Design of Experiments, section 21.

    Args:
        first, second: as for `mcnemar_exact`, for example means over trainings.
        denominator: all scores are multiples of ``1 / denominator``. For means over a and over b trainings it is
            lcm(a, b).

    Raises:
        InputError: the samples are empty, not finite or of different length, or the differences are not such multiples.
    """
    ours, theirs = _paired_scores(first, second)
    exact = (ours - theirs) * denominator
    steps = np.rint(exact).astype(int)
    if np.abs(exact - steps).max() > 1e-6:
        raise InputError(f"the scores differ by more or less than multiples of 1/{denominator}; give their denominator")
    bound = int(np.abs(steps).sum())
    chances = np.zeros(2 * bound + 1)
    chances[bound] = 1.0
    for step in np.abs(steps[steps != 0]):
        # The walk cannot have come further than the bound, so nothing is rolled over the ends.
        chances = 0.5 * (np.roll(chances, step) + np.roll(chances, -step))
    seen = abs(int(steps.sum()))
    tails = chances[bound + seen :].sum() + chances[: bound - seen + 1].sum()
    better, worse = int((steps > 0).sum()), int((steps < 0).sum())
    return PairedTest(better, worse, min(1.0, float(tails)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family of m tests after Holm's correction, in the given order.

    With p_(1) ≤ ... ≤ p_(m) the i-th is max_{j ≤ i} min(1, (m - j + 1) p_(j)). If all tests below a level are rejected,
    the probability of any false rejection in the family stays below that level, however the tests depend on each other.

    Source: S. Holm (1979), Scandinavian Journal of Statistics 6:65-70.

    Raises:
        InputError: a value is outside [0, 1].
    """
    if not all(0.0 <= value <= 1.0 for value in p_values):
        raise InputError(f"{list(p_values)} are no p values; give numbers between 0 and 1")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def mean_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    """The mean of one score for each item, with its percentile bootstrap interval over items.

    Items are drawn with replacement ``resamples`` times. The interval holds the central ``confidence`` of the resampled
    means. The same arguments give the same interval on every machine.

    Source: B. Efron and R. J. Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.

    Raises:
        InputError: there are no values or no resamples, a value is not finite, or the confidence is outside (0, 1).
    """
    _check_confidence(confidence)
    if resamples < 1:
        raise InputError(f"{resamples} resamples were asked for; give at least 1, better 10000")
    scores = _scores(values, "the sample")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, _CELLS_PER_CHUNK // scores.size)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(scores.size, size=(stop - start, scores.size))
        means[start:stop] = scores[drawn].mean(axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(scores.mean()), float(low), float(high))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of ``first - second`` over items, with its bootstrap interval.

    Items are resampled in pairs, so difficulty that both share cancels out. For scores of 0 and 1 this is the
    difference of two success rates.

    Raises:
        InputError: as for `mean_interval` and `mcnemar_exact`.
    """
    ours, theirs = _paired_scores(first, second)
    return mean_interval((ours - theirs).tolist(), seed=seed, resamples=resamples, confidence=confidence)


_TOGETHER = 500
"""Number of permutations that are counted at once."""


@dataclass(frozen=True)
class AssignmentTest:
    """The outcome of a test whether answers match their own assignments more often than those of others."""

    matches: int
    """Number of answers that match their own assignment, among the informative pairs."""
    pairs: int
    """Number of answers for which a match with the own assignment is informative."""
    chance: float
    """Fraction of matches among all informative pairs of an answer and an assignment. 0 if there are none."""
    p_value: float
    """One-sided probability of at least this fraction of matches if assignments were shuffled."""


def assignment_test(
    matches: np.ndarray, tells: np.ndarray, *, seed: int = 0, permutations: int = 10_000
) -> AssignmentTest:
    """A permutation test of n answers, each to one of n assignments.

    The statistic is the fraction of matches among the informative pairs, Σ_i M[i, i] T[i, i] / Σ_i T[i, i]. Under the
    null hypothesis an answer is independent of its own assignment, so every permutation s is equally likely to give the
    larger fraction over the pairs (i, s(i)). ``permutations`` permutations are drawn, and
    p = (1 + those that reach the statistic) / (1 + permutations). The statistic is a fraction rather than a count
    because assignments may be chosen to differ from an item's own, which makes more of the true pairs informative than
    of the shuffled ones. The same arguments give the same p on every machine.

    Source: B. Phipson and G. K. Smyth (2010), Permutation p-values should never be zero, equation 2.

    Args:
        matches: M, [n, n] of bool. [i, j] is whether answer i matches assignment j.
        tells: T, [n, n] of bool. False if a match is not informative, for example because both are the same anyway.
        seed: seed of the permutations.
        permutations: number of permutations.

    Raises:
        InputError: the matrices are not square and of one size, or there are no permutations.
    """
    if matches.ndim != 2 or matches.shape[0] != matches.shape[1] or matches.shape != tells.shape or not matches.size:
        raise InputError(f"matches {matches.shape} and tells {tells.shape}, expected two square matrices of one size")
    if permutations < 1:
        raise InputError(f"permutations is {permutations}, expected at least 1, better 10000")
    telling, places = matches & tells, np.arange(len(matches))
    found, pairs = int(telling[places, places].sum()), int(tells[places, places].sum())
    generator, reached = np.random.default_rng(seed), 0
    for start in range(0, permutations, _TOGETHER):
        size = min(_TOGETHER, permutations - start)
        orders = generator.permuted(np.tile(places, (size, 1)), axis=1)
        # Shares are compared as products of whole numbers, so that no rounding decides; no pair that tells is share 0.
        hits, told = telling[places, orders].sum(axis=1), tells[places, orders].sum(axis=1)
        reached += int((hits * max(pairs, 1) >= found * np.maximum(told, 1)).sum())
    chance = float(telling.sum() / tells.sum()) if tells.any() else 0.0
    return AssignmentTest(found, pairs, chance, (1 + reached) / (1 + permutations))
