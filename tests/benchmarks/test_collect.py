import pytest

from benchmarks import collect as bench
from interlat.errors import BenchmarkError

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}


@pytest.mark.slow
def test_one_record_a_case_and_metric(monkeypatch):
    monkeypatch.setattr(bench, "EFFORTS", {True: [bench.Effort("tiny", 3, 5, 4)]})
    records = list(bench.run(quick=True))
    assert [(record["case"], record["metric"]) for record in records] == [
        ("tiny batch 3", "tokens_per_second"),
        ("tiny batch 3", "peak_memory"),
    ]
    assert all(set(record) == FIELDS for record in records)
    assert records[0]["ratio"] == pytest.approx(records[0]["ours"] / records[0]["reference"])


def test_other_tokens_are_no_result(monkeypatch):
    monkeypatch.setattr(bench, "_play", lambda kind, effort: {"digest": kind})
    with pytest.raises(BenchmarkError, match="different tokens"):
        list(bench.run(quick=True))
