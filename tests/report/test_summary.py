import pytest

from interlat.errors import InputError
from interlat.report.summary import roles_of, summarise


def test_rows_count_what_is_there(make_records):
    records = make_records()
    summary = summarise(records)
    latent = {row.split: row for row in summary.rows if row.variant == "latent"}
    won = sum(r["success"] for r in records if r["variant"] == "latent")
    assert latent["all"].success.estimate == pytest.approx(won / 40)
    assert latent["seen"].episodes == latent["unseen"].games == 20
    assert latent["all"].success.low < won / 40 < latent["all"].success.high


def test_comparisons_are_paired_by_game(make_records):
    records = make_records()
    by = {(r["variant"], r["item"]): r["success"] for r in records}
    items = sorted({r["item"] for r in records})
    comparison = next(
        c for c in summarise(records).comparisons if (c.first, c.second, c.split) == ("latent", "text", "all")
    )
    better = sum(by["latent", item] and not by["text", item] for item in items)
    worse = sum(by["text", item] and not by["latent", item] for item in items)
    assert (comparison.test.first_better, comparison.test.second_better) == (better, worse)
    assert comparison.difference.estimate == pytest.approx((better - worse) / len(items))


def test_a_latent_result_without_controls_is_uncontrolled(make_records):
    assert not summarise(make_records()).uncontrolled
    assert summarise(make_records(("none", "text", "latent"))).uncontrolled


def test_bad_records_are_refused(make_records):
    records = make_records(games=2)
    with pytest.raises(InputError, match="nothing was played"):
        summarise([])
    with pytest.raises(InputError, match="twice"):
        summarise([*records, records[0]])
    with pytest.raises(InputError, match="lacks success"):
        summarise([{k: v for k, v in records[0].items() if k != "success"}])


def test_a_message_cut_or_rounded_is_no_control(make_records):
    """It shows nothing about whether the message matters, so a latent result beside it alone is uncontrolled."""
    roles = roles_of(make_records(["none", "latent", "first_rows:4", "int8", "zeros"], games=2))
    assert roles == {"none": "none", "latent": "latent", "first_rows:4": "latent", "int8": "latent", "zeros": "control"}
    assert summarise(make_records(["latent", "first_rows:4", "int8"])).uncontrolled
    short = summarise(make_records(["latent", "compressed:8", "first_rows:8"]))
    pairs = {(found.first, found.second) for found in short.comparisons}
    assert pairs == {("latent", "compressed:8"), ("latent", "first_rows:8"), ("compressed:8", "first_rows:8")}
