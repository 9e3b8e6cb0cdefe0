"""Summaries against slow, obvious counts."""

import math
import random
from itertools import combinations, product

import pytest

from interlat.errors import InputError
from interlat.evaluation.statistics import mean_interval, paired_difference, wilson_interval
from interlat.report.summary import ALL, Arm, arms_of, channel_pairs, exploration, general, groups_of, summarise


def rows_of(summary, group=ALL):
    return {row.variant: row for row in summary.on(group)}


def test_rows_count_what_is_there(make_results):
    records = make_results(seeds=(0, 1))
    summary = summarise(records)
    assert summary.groups == ("easy", "hard", ALL) and summary.seeds == (0, 1)
    for group, variant in product(summary.groups, summary.variants):
        own = [r for r in records if r["variant"] == variant and group in (r["split"], ALL)]
        row = rows_of(summary, group)[variant]
        right = [r for r in own if r["success"]]
        assert row.success.estimate == pytest.approx(len(right) / len(own))
        assert row.success == wilson_interval(len(right) / 2, len(own) // 2), "items count, not their episodes"
        assert (row.items, row.episodes) == (len({r["item"] for r in own}), len(own))
        assert row.steps_won == pytest.approx(sum(r["steps"] for r in right) / len(right))
        for field in ("message_bytes", "latents", "decoded_tokens", "sender_tokens", "peak_memory_bytes"):
            assert row.means[field] == pytest.approx(sum(r[field] for r in own) / len(own))
        seconds = sum(r["seconds"]["sender"] + r["seconds"]["receiver"] for r in own) / len(own)
        assert row.means["seconds"] == pytest.approx(seconds)
        assert row.means["sender_seconds"] + row.means["receiver_seconds"] == pytest.approx(seconds)
        items = sorted({(r["split"], r["item"]) for r in own})
        scores = [[r["score"] for r in own if (r["split"], r["item"]) == item] for item in items]
        assert row.score == mean_interval([sum(of) / len(of) for of in scores])
    assert summary.repeated and not summarise(make_results()).repeated


def answered(given, right):
    """Records of questions: one list of answers an item, under one seed each."""
    return [
        {
            "item": f"q{item}",
            "variant": "text",
            "message_kind": "text",
            "seed": seed,
            "given": one,
            "success": one == right,
        }
        for item, answers in enumerate(given)
        for seed, one in enumerate(answers)
    ]


def test_several_answers_give_majority_and_pass_at_k():
    given = [list(one) for one in product("abc", repeat=5)]
    records = answered(given, "a")
    (row,) = summarise(random.Random(0).sample(records, len(records))).rows
    sampled = row.sampled
    assert sampled is not None and (sampled.answers, list(sampled.pass_at)) == (5, [1, 2, 4, 5])
    for k, found in sampled.pass_at.items():
        drawn = [any(one == "a" for one in some) for answers in given for some in combinations(answers, k)]
        assert found.estimate == pytest.approx(sum(drawn) / len(drawn)), "every choice of k answers"
    assert sampled.pass_at[1] == row.success
    votes = []
    for answers in given:
        most = max(answers.count(one) for one in answers)
        winners = [one for one in "abc" if answers.count(one) == most]
        votes.append(("a" in winners) / len(winners))
    assert sampled.majority.estimate == pytest.approx(sum(votes) / len(votes))


def test_forms_of_one_answer_vote_together():
    records = answered([["1,000", "1000", "7"]], "")
    for record in records:
        record["success"] = record["given"] != "7"
    (row,) = summarise(records).rows
    assert row.sampled.majority.estimate == 1.0
    failed = [{**one, "failure": "does not fit", "success": False} for one in records]
    for one in failed:
        del one["given"]
    (row,) = summarise(failed).rows
    assert (row.sampled.majority.estimate, row.sampled.pass_at[3].estimate) == (0.0, 0.0)


def test_one_answer_a_question_and_games_are_not_voted_on(make_results):
    assert all(row.sampled is None for row in summarise(make_results(seeds=(0, 1))).rows)
    summary = summarise(answered([["a"], ["b"]], "a"))
    assert summary.rows[0].sampled is None and "sampled" not in summary.as_dict()["rows"][0]


def test_comparisons_are_paired_by_item(make_results):
    """Wins, losses, difference and the binomial tail, counted item by item; Holm's correction by its definition."""
    records = make_results(items=30)
    summary = summarise(records)
    right = {(r["variant"], r["item"]): r["success"] for r in records}
    items = sorted({(r["split"], r["item"]) for r in records})
    of_all = [one for one in summary.comparisons if one.group == ALL]
    for one in of_all:
        ours, theirs = ([float(right[variant, item]) for _, item in items] for variant in (one.first, one.second))
        better = sum(a > b for a, b in zip(ours, theirs, strict=True))
        worse = sum(a < b for a, b in zip(ours, theirs, strict=True))
        assert (one.items, one.test.first_better, one.test.second_better) == (len(items), better, worse)
        assert one.difference == paired_difference(ours, theirs)
        n = better + worse
        tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / 2**n
        assert one.test.p_value == pytest.approx(min(1.0, 2 * tail))
    ranked = sorted(of_all, key=lambda one: one.test.p_value)
    for place, one in enumerate(ranked):
        expected = max(min(1.0, (len(ranked) - k) * ranked[k].test.p_value) for k in range(place + 1))
        assert one.adjusted == pytest.approx(expected)


def test_only_shared_items_are_compared(make_results):
    records = [r for r in make_results(items=10) if not (r["variant"] == "none" and r["item"].endswith("-3"))]
    found = {(one.first, one.second, one.group): one.items for one in summarise(records).comparisons}
    assert found["hidden", "none", ALL] == 18 and found["hidden", "text", ALL] == 20
    alone = [r for r in records if r["variant"] == "none" or r["split"] == "hard"]
    assert {one.group for one in summarise(alone).comparisons} == {"hard", ALL}


def test_every_channel_is_compared_with_none_text_and_its_own_controls(make_results):
    arms = arms_of(make_results(items=2))
    assert [(arm.variant, arm.role) for arm in arms] == [
        ("none", "none"),
        ("text", "text"),
        ("hidden", "latent"),
        ("cache", "latent"),
        ("hidden first_rows:4", "latent"),
        ("text cross_task", "control"),
        ("hidden zeros", "control"),
    ]
    assert [(one.variant, two.variant, about) for one, two, about in channel_pairs(arms)] == [
        ("text", "none", "channel"),
        ("hidden", "none", "channel"),
        ("cache", "none", "channel"),
        ("hidden first_rows:4", "none", "channel"),
        ("hidden", "text", "channel"),
        ("cache", "text", "channel"),
        ("hidden first_rows:4", "text", "channel"),
        ("text", "text cross_task", "control"),
        ("hidden", "hidden zeros", "control"),
    ]


def test_a_channel_without_a_control_of_its_own_is_uncontrolled(make_results):
    summary = summarise(make_results())
    assert [row.variant for row in summary.on(ALL) if not row.controlled] == ["cache"]
    records = [r for r in make_results() if not (r["control"] and r["split"] == "easy")]
    uncontrolled = {(row.variant, row.group) for row in summarise(records).rows if not row.controlled}
    assert uncontrolled == {("text", "easy"), ("hidden", "easy"), *(("cache", g) for g in ("easy", "hard", ALL))}


def test_items_are_grouped_by_another_field_on_request(make_results):
    records = make_results()
    summary = summarise(records, by="task_type")
    assert summary.groups == ("add", "multiply", ALL)
    added = [r for r in records if r["task_type"] == "add" and r["variant"] == "text"]
    assert rows_of(summary, "add")["text"].episodes == len(added)
    levelled = [{**record, "level": 1 + number % 2} for number, record in enumerate(records)]
    assert summarise(levelled, by="level").groups == ("level 1", "level 2", ALL)
    assert summarise(records, by="level").groups == ("",), "no record has one"
    assert groups_of([{"split": name} for name in ("zoo", "unseen", "train", "seen")]) == (
        *("train", "seen", "unseen", "zoo", ALL),
    )


def test_what_a_record_lacks_is_left_out():
    """The fewest fields there can be; means are over the records that have a field."""
    records = [{"item": str(n), "variant": "text", "success": n < 3} for n in range(4)]
    records[0] |= {"latents": 4, "seconds": {"sender": 1.0}}
    (row,) = summarise(records).rows
    assert (row.steps, row.score, row.steps_won, row.group) == (None, None, None, "")
    assert row.means == {"latents": 4.0, "seconds": 1.0, "sender_seconds": 1.0}


def test_failures_are_counted(make_results):
    records = make_results()
    for record in random.Random(0).sample(records, 9):
        record |= {"failure": "too long", "success": False}
    assert sum(row.failures for row in summarise(records).on(ALL)) == 9


def test_records_of_older_versions_are_read(make_records):
    old = make_records(games=1)
    found = {record["variant"]: general(record) for record in old if record["split"] == "seen"}
    assert (found["latent"]["channel"], found["latent"]["control"]) == ("latent", "")
    assert (found["zeros"]["channel"], found["zeros"]["control"]) == ("", "zeros")
    assert found["latent"]["latents"] == 24 and found["none"]["latents"] == 0
    record = next(record for record in old if record["variant"] == "latent")
    assert found["latent"]["seconds"] == {
        phase: record[f"{name}_seconds"]
        for phase, name in (("sender", "sender"), ("receiver", "receiver"), ("environment", "world"))
    }
    assert general({"item": "1", "variant": "single", "success": True, "seconds": 2})["seconds"] == {"total": 2.0}
    again = general(found["latent"])
    assert again == found["latent"]


def test_a_message_cut_or_rounded_is_no_control(make_records):
    """It shows nothing about whether the message matters, so a latent result beside it alone is uncontrolled."""
    roles = {
        arm.variant: arm.role for arm in arms_of(make_records(["none", "latent", "first_rows:4", "int8", "zeros"]))
    }
    assert roles == {"none": "none", "latent": "latent", "first_rows:4": "latent", "int8": "latent", "zeros": "control"}
    summary = summarise(make_records(["latent", "first_rows:4", "int8"]))
    assert not any(row.controlled for row in summary.rows)


def test_a_channel_that_gives_its_receiver_nothing_is_a_control(make_records):
    records = make_records(("none", "latent", "latent_unsent"))
    for record in records:
        if record["variant"] == "latent_unsent":
            record["message_kind"] = "none"
    assert [arm.role for arm in arms_of(records)] == ["none", "latent", "control"]
    assert arms_of(records)[0] == Arm("none", "none", "none")


def test_a_text_channel_with_an_empty_message_is_one_of_text_still(make_results):
    records = make_results(items=3)
    empty = next(record for record in records if record["variant"] == "text")
    empty |= {"message_kind": "none", "failure": "an empty plan"}
    assert {arm.variant: arm.role for arm in arms_of(records)}["text"] == "text"


def test_bad_records_are_refused(make_results):
    records = make_results(items=2)
    with pytest.raises(InputError, match="nothing was played"):
        summarise([])
    with pytest.raises(InputError, match="twice"):
        summarise([*records, records[0]])
    with pytest.raises(InputError, match="lacks success"):
        summarise([{k: v for k, v in records[0].items() if k != "success"}])


def test_as_dict_has_the_means_among_the_fields_of_a_row(make_results):
    row = summarise(make_results()).as_dict()["rows"][0]
    assert "means" not in row and row["latents"] == 0 and set(row["success"]) == {"estimate", "low", "high"}


def test_exploration_counts_actions_and_places_of_games_alone():
    actions = ["look", "go to shelf 1", "go to shelf 2", "look", "Go to shelf 1."]
    record = {"max_steps": 9, "turns": [{"action": action, "observation": ""} for action in actions]}
    assert exploration(record) == {"distinct_actions": 3, "repeated_actions": 2, "distinct_places": 2}
    one = {"distinct_actions": 1, "repeated_actions": 0, "distinct_places": 0}
    assert exploration({**record, "turns": record["turns"][:1]}) == one
    assert exploration({**record, "max_steps": 1}) == exploration({"max_steps": 9}) == {}


def test_the_means_of_exploration_are_over_the_episodes_that_have_it(make_results):
    records = make_results(steps=40)
    for number, record in enumerate(records):
        taken = ["go to sink 1"] * (1 + number % 3)
        record |= {"max_steps": 40, "turns": [{"action": action, "observation": ""} for action in taken]}
    (row,) = [row for row in summarise(records).rows if (row.variant, row.group) == ("none", "all")]
    repeats = [len(record["turns"]) - 1 for record in records if record["variant"] == "none"]
    assert row.means["repeated_actions"] == pytest.approx(sum(repeats) / len(repeats))
    assert row.means["distinct_places"] == 1
