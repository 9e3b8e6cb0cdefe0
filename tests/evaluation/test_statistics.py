"""Statistics against slow independent implementations and values from the literature."""

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from interlat.errors import InputError
from interlat.evaluation.statistics import (
    assignment_test,
    holm,
    mcnemar_exact,
    mean_interval,
    median_interval,
    paired_difference,
    sign_flip_exact,
    wilson_interval,
)


def slow_wilson(successes: int, trials: int) -> tuple[float, float]:
    """Invert the score test by bisection: the rates at which |p - q| / sqrt(q(1-q)/n) equals z."""
    z, rate = 1.959963984540054, successes / trials

    def bisect(low: float, high: float, inside_is_high: bool) -> float:
        for _ in range(200):
            middle = (low + high) / 2
            inside = (rate - middle) ** 2 <= z * z * middle * (1 - middle) / trials
            if inside == inside_is_high:
                high = middle
            else:
                low = middle
        return (low + high) / 2

    return bisect(0.0, rate, True), bisect(rate, 1.0, False)


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (7, 20), (143, 200), (199, 200), (3, 4)])
def test_wilson_inverts_the_score_test(successes: int, trials: int) -> None:
    interval = wilson_interval(successes, trials)
    low, high = slow_wilson(successes, trials)
    assert interval.estimate == successes / trials
    assert interval.low == pytest.approx(low, abs=1e-9)
    assert interval.high == pytest.approx(high, abs=1e-9)


def test_wilson_known_value() -> None:
    # R. G. Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3: 81 of 263.
    interval = wilson_interval(81, 263)
    assert round(interval.low, 4) == 0.2553
    assert round(interval.high, 4) == 0.3662


def test_wilson_borders_are_exact() -> None:
    none, every = wilson_interval(0, 20), wilson_interval(20, 20)
    assert (none.low, every.high) == (0.0, 1.0)
    assert none.high == pytest.approx(1 - every.low)
    assert round(none.high, 4) == 0.1611


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_estimate(counts: tuple[int, int]) -> None:
    interval = wilson_interval(*counts)
    assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0


@pytest.mark.parametrize("counts", [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(counts: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="not a rate"):
        wilson_interval(*counts)


def enumerated_p(better: int, worse: int) -> float:
    """Flip every discordant pair both ways and count the outcomes that are at least as uneven."""
    total = better + worse
    outcomes = itertools.product((0, 1), repeat=total)
    extreme = sum(abs(2 * sum(flips) - total) >= abs(better - worse) for flips in outcomes)
    return extreme / 2**total


@pytest.mark.parametrize(("better", "worse"), list(itertools.product(range(6), repeat=2)))
def test_mcnemar_equals_enumeration(better: int, worse: int) -> None:
    first = [1] * better + [0] * worse + [1, 1, 0]
    second = [0] * better + [1] * worse + [1, 1, 0]
    test = mcnemar_exact(first, second)
    assert (test.first_better, test.second_better) == (better, worse)
    assert test.p_value == pytest.approx(enumerated_p(better, worse), abs=1e-15)


def test_mcnemar_known_value() -> None:
    # 2 against 10 discordant pairs: 2 (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 158 / 4096.
    test = mcnemar_exact([1] * 10 + [0] * 2, [0] * 10 + [1] * 2)
    assert test.p_value == 158 / 4096
    assert mcnemar_exact([0] * 10 + [1] * 2, [1] * 10 + [0] * 2).p_value == test.p_value


def test_mcnemar_stays_finite_on_many_pairs() -> None:
    assert mcnemar_exact([1] * 5000, [0] * 5000).p_value == 0.0
    assert 0.0 < mcnemar_exact([1] * 900, [0] * 900).p_value < 1e-250
    assert mcnemar_exact([True, False], [True, False]).p_value == 1.0


def test_mcnemar_on_means_over_seeds_is_the_sign_test() -> None:
    test = mcnemar_exact([2 / 3, 1.0, 1 / 3, 0.5], [1 / 3, 0.0, 2 / 3, 0.5])
    assert (test.first_better, test.second_better, test.p_value) == (2, 1, 1.0)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8),
)
def test_sign_flips_equal_enumeration(denominator: int, pairs: list[tuple[int, int]]) -> None:
    steps = [one - two for one, two in pairs]
    sums = [
        abs(sum(s * d for s, d in zip(signs, steps, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(steps))
    ]
    first, second = ([pair[side] / denominator for pair in pairs] for side in (0, 1))
    test = sign_flip_exact(first, second, denominator)
    assert test.p_value == pytest.approx(sum(total >= abs(sum(steps)) for total in sums) / len(sums), abs=1e-12)
    assert (test.first_better, test.second_better) == (sum(d > 0 for d in steps), sum(d < 0 for d in steps))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_sign_flips_of_wins_are_mcnemars_test(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    one, other = sign_flip_exact(first, second, 1), mcnemar_exact(first, second)
    assert (one.first_better, one.second_better) == (other.first_better, other.second_better)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9)


def test_sign_flips_ask_by_how_much() -> None:
    """Ten games lost by one training of three, five won by all three: more games one way, the mean the other."""
    first, second = [2 / 3] * 10 + [1.0] * 5, [1.0] * 10 + [0.0] * 5
    test = sign_flip_exact(first, second, 3)
    assert (test.first_better, test.second_better) == (5, 10)
    assert test.p_value > mcnemar_exact(first, second).p_value
    assert sign_flip_exact([1] * 900, [0] * 900, 1).p_value == pytest.approx(2 / 2**900)


def test_scores_of_another_denominator_are_refused() -> None:
    with pytest.raises(InputError, match="multiples of 1/2"):
        sign_flip_exact([1 / 3], [0.0], 2)


def test_bootstrap_agrees_with_the_exact_resampling_distribution() -> None:
    values = [0.0, 1.0, 5.0, 2.0]
    every_mean = sorted(sum(draw) / 4 for draw in itertools.product(values, repeat=4))
    low, high = np.quantile(every_mean, [0.1, 0.9])
    interval = mean_interval(values, resamples=40_000, confidence=0.8)
    assert interval.estimate == 2.0
    assert interval.low == pytest.approx(low, abs=0.26)
    assert interval.high == pytest.approx(high, abs=0.26)


def test_bootstrap_agrees_with_the_normal_limit() -> None:
    draw = random.Random(3)
    values = [draw.gauss(10, 4) for _ in range(400)]
    interval = mean_interval(values, seed=1)
    half = 1.96 * float(np.std(values)) / math.sqrt(400)
    assert interval.low == pytest.approx(interval.estimate - half, rel=0.01)
    assert interval.high == pytest.approx(interval.estimate + half, rel=0.01)


def test_bootstrap_is_seeded() -> None:
    draw = random.Random(0)
    values = [draw.random() for _ in range(50)]
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    assert mean_interval(values, seed=4) != mean_interval(values, seed=5)


def test_bootstrap_in_chunks_covers_every_resample() -> None:
    interval = mean_interval([1.0] * 3000, resamples=2000)
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_paired_difference_resamples_items_and_not_samples() -> None:
    hard = [float(value) for value in range(100)]
    easier = [value + 1.0 for value in hard]
    interval = paired_difference(easier, hard)
    assert (interval.estimate, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_paired_difference_is_the_difference_of_rates() -> None:
    first, second = [1, 1, 1, 0] * 50, [1, 0, 0, 0] * 50
    interval = paired_difference(first, second)
    assert interval.estimate == pytest.approx(0.5)
    half = 1.96 * math.sqrt(0.25 / 200)
    assert interval.low == pytest.approx(0.5 - half, abs=0.01)
    assert interval.high == pytest.approx(0.5 + half, abs=0.01)
    mirrored = paired_difference(second, first)
    assert mirrored.low == pytest.approx(-interval.high, abs=0.01)


def test_bootstrap_covers_at_about_its_level() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        sample = (draw.random(100) < 0.4).astype(float)
        interval = mean_interval(sample.tolist(), seed=trial, resamples=500)
        covered += interval.low <= 0.4 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [([], [], "no scores"), ([1.0], [1.0, 0.0], "1 and 2 scores"), ([float("nan")], [1.0], "not finite")],
)
def test_unusable_samples_are_refused(first: list[float], second: list[float], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        mcnemar_exact(first, second)
    with pytest.raises(InputError, match=reason):
        sign_flip_exact(first, second, 1)
    with pytest.raises(InputError, match=reason):
        paired_difference(first, second)


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(InputError, match="resamples"):
        mean_interval([1.0], resamples=0)
    with pytest.raises(InputError, match="confidence"):
        mean_interval([1.0], confidence=95)
    with pytest.raises(InputError, match="confidence"):
        wilson_interval(1, 2, confidence=0.0)


@pytest.mark.parametrize(("count", "place"), [(1, 0), (5, 0), (6, 0), (9, 1), (20, 5), (40, 13)])
def test_the_median_s_interval_are_order_statistics(count: int, place: int) -> None:
    """The places of the tables of the sign test (n = 9: second values, n = 20: sixth, n = 40: fourteenth)."""
    values = [float(value) for value in range(count)]
    found = median_interval(values[::-1])
    assert found.estimate == (count - 1) / 2
    assert (found.low, found.high) == (values[place], values[count - 1 - place])


def test_the_median_s_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        found = median_interval(rng.exponential(size=25).tolist())
        covered += found.low <= math.log(2) <= found.high
    assert 0.945 <= covered / 2000 <= 0.99


def test_no_values_have_no_median() -> None:
    with pytest.raises(InputError, match="no values"):
        median_interval([])


def test_holm_rejects_what_its_steps_reject():
    """Holm's procedure step by step: from the smallest p on, reject while p is at most level / tests that are left."""
    rng = np.random.default_rng(2)
    for count in (1, 2, 7):
        for _ in range(20):
            p_values = (rng.random(count) ** 4).round(3).tolist()
            adjusted = holm(p_values)
            for level in (0.01, 0.05, 0.2):
                rejected = set()
                for left, index in zip(range(count, 0, -1), np.argsort(p_values, kind="stable"), strict=True):
                    if left * p_values[index] > level:
                        break
                    rejected.add(int(index))
                assert rejected == {index for index, p in enumerate(adjusted) if p <= level}
    assert holm([]) == [] and holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    with pytest.raises(InputError):
        holm([0.5, 1.5])


@pytest.mark.parametrize("seed", range(4))
def test_the_assignment_test_agrees_with_all_permutations(seed):
    draw = np.random.default_rng(seed)
    matches, tells = draw.random((6, 6)) < 0.4, draw.random((6, 6)) < 0.8
    np.fill_diagonal(matches, draw.random(6) < 0.7)
    shares = []
    for order in itertools.permutations(range(6)):
        told = [pair for pair in enumerate(order) if tells[pair]]
        shares.append(Fraction(sum(bool(matches[pair]) for pair in told), max(len(told), 1)))
    found = assignment_test(matches, tells, seed=seed)
    assert found.pairs == tells.diagonal().sum() > 0 and Fraction(found.matches, found.pairs) == shares[0]
    assert found.chance == pytest.approx((matches & tells).sum() / tells.sum())
    assert found.p_value == pytest.approx(sum(share >= shares[0] for share in shares) / len(shares), abs=0.02)
    assert found == assignment_test(matches, tells, seed=seed)


def test_assignments_that_avoid_the_own_answer_are_no_matches():
    """Two answers in all, and everybody is assigned the other one: whoever guesses is right half of the time."""
    draw = np.random.default_rng(0)
    own, given = np.arange(200) % 2, draw.integers(2, size=200)
    target = 1 - own
    found = assignment_test(given[:, None] == target[None, :], target[None, :] != own[:, None])
    assert found.pairs == 200 and abs(found.matches / 200 - found.chance) < 0.1 and found.p_value > 0.05


def test_an_assignment_test_of_nothing_says_nothing_and_of_no_square_is_refused():
    nothing = np.zeros((3, 3), bool)
    found = assignment_test(nothing, nothing)
    assert (found.matches, found.pairs, found.chance, found.p_value) == (0, 0, 0.0, 1.0)
    for matches, tells, permutations, match in (
        (np.zeros((2, 3), bool), np.zeros((2, 3), bool), 1, "square"),
        (nothing, np.zeros((2, 2), bool), 1, "square"),
        (nothing, nothing, 0, "permutations"),
    ):
        with pytest.raises(InputError, match=match):
            assignment_test(matches, tells, permutations=permutations)


# Against libraries, on random data.


def random_scores(rng, size):
    return rng.integers(0, 2, size).tolist(), rng.integers(0, 2, size).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_rates_and_tests_are_those_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    trials = int(rng.integers(1, 400))
    successes = int(rng.integers(0, trials + 1))
    confidence = float(rng.choice([0.9, 0.95, 0.99]))
    found = wilson_interval(successes, trials, confidence)
    low, high = proportion_confint(successes, trials, 1 - confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)

    first, second = random_scores(rng, int(rng.integers(2, 300)))
    table = [[sum((a, b) == (x, y) for a, b in zip(first, second, strict=True)) for y in (1, 0)] for x in (1, 0)]
    assert mcnemar_exact(first, second).p_value == pytest.approx(float(mcnemar(table, exact=True).pvalue), abs=1e-9)

    p_values = rng.random(int(rng.integers(1, 30))) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_permutations_and_resamples_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    # Means over three trainings; with ten items all 1,024 choices of signs are tried.
    first, second = (rng.integers(0, 4, 10) / 3 for _ in range(2))
    exact = scipy.stats.permutation_test(
        (first, second), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_exact(first.tolist(), second.tolist(), 3).p_value == pytest.approx(exact.pvalue, abs=1e-9)

    scores = rng.random(60)
    found = mean_interval(scores.tolist(), resamples=20_000)
    theirs = scipy.stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=20_000, rng=rng)
    low, high = theirs.confidence_interval
    # Both draw, so the ends agree up to the noise of 20,000 draws.
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert found.estimate == pytest.approx(scores.mean())


@pytest.mark.parametrize("seed", range(3))
def test_assignments_are_shuffled_as_scipy_does(seed):
    rng = np.random.default_rng(seed)
    said = rng.integers(0, 3, 7)
    answers = np.where(rng.random(7) < 0.5, said, rng.integers(0, 3, 7))
    matches = answers[:, None] == said[None, :]
    exact = scipy.stats.permutation_test(
        (said,),
        lambda assigned: (answers == assigned).mean(),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=np.inf,
    )
    found = assignment_test(matches, np.ones_like(matches), permutations=40_000)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.01)
