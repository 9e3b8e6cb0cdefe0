import pytest

from benchmarks import store as bench
from interlat.errors import BenchmarkError

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bench, "SIZES", {True: bench.Size(6, 8, 16)})


@pytest.mark.slow
def test_one_record_a_metric_and_one_for_more_items(small):
    records = list(bench.run(quick=True))
    assert [record["metric"] for record in records] == [*bench.METRICS, "peak_memory"]
    for record in records:
        assert set(record) == FIELDS and record["bench"] == "store"
        if record["metric"] != "peak_memory":
            assert record["ratio"] == pytest.approx(record["reference"] / record["ours"])
    assert records[-1]["case"].startswith("24 x")
    assert records[-1]["reference"] == records[-2]["ours"]


def test_other_numbers_are_no_result(small, monkeypatch):
    monkeypatch.setattr(bench, "run_side", lambda *_: {"same": False})
    with pytest.raises(BenchmarkError, match="other numbers"):
        list(bench.run(quick=True))
