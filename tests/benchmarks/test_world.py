import pytest

from benchmarks import world
from interlat.errors import BenchmarkError
from interlat.experiments.household.author import MINI_ROOMS

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(world, "ROOMS", {"mini rooms": MINI_ROOMS})
    monkeypatch.setattr(world, "EFFORT", {True: world.Effort(games=1, steps=2)})


def test_one_record_a_metric_and_both_engines_print_the_same(small):
    records = list(world.run(quick=True))
    assert [record["metric"] for record in records] == list(world.METRICS)
    for record in records:
        assert set(record) == FIELDS and record["ours"] > 0
        assert record["ratio"] == pytest.approx(record["ours"] / record["reference"])


def test_other_texts_are_no_result(small, monkeypatch):
    monkeypatch.setattr(world, "_play", lambda kind, *_: {"digest": kind})
    with pytest.raises(BenchmarkError, match="other texts"):
        list(world.run(quick=True))


def test_an_engine_that_fails_is_named(small, tmp_path):
    with pytest.raises(BenchmarkError, match="the stock engine failed"):
        world._play("stock", 1, [tmp_path / "no game"], str(tmp_path))
