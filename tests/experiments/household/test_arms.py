"""Arms against counts made by hand."""

import numpy as np
import pytest

from interlat.errors import InputError
from interlat.evaluation.statistics import paired_difference, sign_flip_exact
from interlat.experiments.household.arms import as_records, compare_arms, markdown_arms, rich_arms


def episodes(seen, unseen):
    """One record for each letter: w is a game that was won."""
    letters = [("seen", place, letter) for place, letter in enumerate(seen)]
    letters += [("unseen", place, letter) for place, letter in enumerate(unseen)]
    return [{"split": split, "item": f"{split}-{place}", "success": letter == "w"} for split, place, letter in letters]


ARMS = {
    "plain": [episodes("wwl", "lll"), episodes("wll", "wll")],
    "full": [episodes("www", "wll"), episodes("wwl", "www")],
    "once": [episodes("lll", "www")],
}


def test_rates_are_counts():
    rows = {(row.arm, row.split): row for row in compare_arms(ARMS, "plain")}
    assert rows["plain", "seen"].rates == pytest.approx((2 / 3, 1 / 3))
    assert rows["full", "all"].rates == pytest.approx((4 / 6, 5 / 6))
    assert rows["full", "all"].success.estimate == pytest.approx(9 / 12)
    assert rows["once", "unseen"].rates == (1.0,) and rows["once", "all"].games == 6
    assert len(rows) == 9


def test_differences_are_paired_by_game():
    """Each game counts once, with its mean over trainings."""
    rows = {(row.arm, row.split): row for row in compare_arms(ARMS, "plain")}
    plain, full = [1.0, 0.5, 0.0, 0.5, 0.0, 0.0], [1.0, 1.0, 0.5, 1.0, 0.5, 0.5]
    found = rows["full", "all"].difference
    assert found.over_games == paired_difference(full, plain)
    assert found.test == sign_flip_exact(full, plain, 2)
    assert found.test.p_value == 2 / 2**5
    assert rows["plain", "all"].difference is None
    once = rows["once", "all"].difference
    losing = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert once.test == sign_flip_exact(losing, plain, 2)
    assert once.over_trainings is None and once.over_games.estimate == pytest.approx(3 / 6 - 4 / 12)


def test_the_interval_over_trainings_holds_the_spread_between_them():
    """Trainings that differ in every game, and games that are all alike: only the trainings can spread."""
    always, never = episodes("w" * 30, ""), episodes("l" * 30, "")
    rows = compare_arms({"a": [always, never], "b": [never, never]}, "b")
    found = next(row.difference for row in rows if row.arm == "a")
    assert (found.over_games.low, found.over_games.high) == (0.5, 0.5)
    # Both draws of a are the losing one in a quarter of the cases, both the winning one in another.
    assert (found.over_trainings.low, found.over_trainings.high) == (0.0, 1.0)
    assert found.over_trainings.estimate == 0.5


def test_the_two_intervals_agree_where_trainings_are_alike():
    rng = np.random.default_rng(0)
    one, two = ("".join(rng.choice(list("wl"), 200)) for _ in range(2))
    rows = compare_arms({"a": [episodes(one, "")] * 3, "b": [episodes(two, "")] * 3}, "b")
    found = next(row.difference for row in rows if row.arm == "a")
    assert found.over_trainings.low == pytest.approx(found.over_games.low, abs=0.01)
    assert found.over_trainings.high == pytest.approx(found.over_games.high, abs=0.01)


def test_tables_say_the_same(capsys):
    rows = compare_arms(ARMS, "plain")
    lines = markdown_arms(rows, "plain").splitlines()
    assert lines[0].startswith("| arm | trainings | seen, % won | unseen, % won | all, % won | each training | - plain")
    assert lines[3].startswith("| full | 2 | 83.3 [") and "| 66.7, 83.3 | +41.7 [" in lines[3]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    records = as_records(rows)
    assert len(records) == len(rows)
    full = next(record for record in records if (record["arm"], record["split"]) == ("full", "all"))
    assert full["difference"] == pytest.approx(5 / 12) and full["mean_rate"] == pytest.approx(0.75)
    assert rich_arms(rows, "plain").columns[0].header == "arm"


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({**ARMS, "short": [episodes("w", "w")]}, "same games"),
        ({**ARMS, "empty": [[]]}, "without episodes"),
        ({**ARMS, "twice": [[*episodes("www", "www"), *episodes("w", "")]]}, "twice"),
        ({"other": ARMS["full"]}, "is no arm"),
    ],
)
def test_what_cannot_be_compared_is_refused(arms, message):
    with pytest.raises(InputError, match=message):
        compare_arms(arms, "plain")


def on_evidence(evidence, letters):
    return [{**record, "evidence": evidence} for record in episodes(letters, "")]


def test_a_game_on_several_draws_of_the_evidence_counts_once():
    """With its mean over the draws; the games stay what is resampled and tested."""
    arms = {
        "base": [[*on_evidence("one", "wlll"), *on_evidence("two", "wwll")]],
        "arm": [[*on_evidence("two", "wwww"), *on_evidence("one", "wwll")]],
    }
    rows = {row.arm: row for row in compare_arms(arms, "base")}
    assert rows["base"].rates == (3 / 8,) and rows["arm"].rates == (6 / 8,) and rows["arm"].games == 4
    found = rows["arm"].difference
    means = [1.0, 1.0, 0.5, 0.5], [1.0, 0.5, 0.0, 0.0]
    assert found.over_games == paired_difference(*means) and found.test == sign_flip_exact(*means, 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([on_evidence("one", "wl") + on_evidence("three", "wl")], "other evidence"),
        ([on_evidence("one", "wl")], "other evidence"),
        ([on_evidence("one", "wl") * 2], "twice"),
    ],
)
def test_draws_are_the_same_in_all_arms(other, message):
    base = [on_evidence("one", "wl") + on_evidence("two", "wl")]
    with pytest.raises(InputError, match=message):
        compare_arms({"base": base, "other": other}, "base")


def test_results_that_do_not_name_their_evidence_are_compared_with_those_that_do():
    rows = compare_arms({"base": [episodes("wl", "")], "arm": [on_evidence("one", "ww")]}, "base")
    assert rows[-1].difference.over_games.estimate == 0.5


def test_the_share_that_is_kept_is_paired():
    """Equal arms keep all in every resample; of an arm that wins some of the same games the share of them."""
    rows = compare_arms({"base": [episodes("ww" * 50, "")], "same": [episodes("ww" * 50, "")] * 2}, "base")
    kept = rows[1].difference.kept
    assert (kept.low, kept.estimate, kept.high) == (1.0, 1.0, 1.0)
    rng = np.random.default_rng(3)
    one = rng.random(400) < 0.6
    two = one & (rng.random(400) < 0.9)
    letters = ["".join("w" if won else "l" for won in arm) for arm in (one, two)]
    rows = compare_arms({"base": [episodes(letters[0], "")], "short": [episodes(letters[1], "")]}, "base")
    kept = rows[1].difference.kept
    assert kept.estimate == pytest.approx(two.sum() / one.sum())
    # The spread of a binomial share of the games won, and not that of two independent rates.
    spread = 1.96 * (kept.estimate * (1 - kept.estimate) / one.sum()) ** 0.5
    assert kept.high - kept.low == pytest.approx(2 * spread, rel=0.15)


def test_trainings_of_the_arm_alone_are_resampled_against_a_fixed_baseline():
    always, never = episodes("w" * 30, ""), episodes("l" * 30, "")
    rows = compare_arms({"a": [always, never], "b": [always]}, "b")
    found = next(row.difference for row in rows if row.arm == "a")
    assert (found.over_trainings.low, found.over_trainings.high) == (-1.0, 0.0)
    assert (found.kept.low, found.kept.estimate, found.kept.high) == (0.0, 0.5, 1.0)


def test_a_baseline_that_wins_nothing_has_no_share():
    rows = compare_arms({"a": [episodes("wl", "")], "b": [episodes("ll", "")]}, "b")
    assert next(row for row in rows if row.arm == "a").difference.kept is None
    assert "kept" not in as_records(rows)[0] and markdown_arms(rows, "b", share=True)


def test_shares_are_shown_where_asked_for():
    rows = compare_arms(ARMS, "plain")
    assert "% of plain" not in markdown_arms(rows, "plain") and "kept" not in str(rich_arms(rows, "plain").columns)
    lines = markdown_arms(rows, "plain", share=True).splitlines()
    assert lines[0].endswith("| % of plain |") and "| 225.0 [" in lines[3] and lines[2].endswith("|  |")
