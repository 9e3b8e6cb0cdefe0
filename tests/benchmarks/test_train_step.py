import pytest

from benchmarks import train_step as bench
from interlat.errors import BenchmarkError

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}
TINY = bench.Shape(300, 3, 64, 40, 12, 32)
LOSSES = [{"total": 5.0, "task": 4.5, "contrastive": 0.6, "plan_distillation": 0.4}]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(bench, "SHAPES", {True: TINY})


@pytest.mark.slow
def test_one_record_a_metric(tiny):
    records = list(bench.run(quick=True))
    assert [record["metric"] for record in records] == ["step_seconds", "peak_memory"]
    for record in records:
        assert set(record) == FIELDS and record["bench"] == "train-step"
        assert record["case"] == (
            "smaller shape: vocabulary 300, batch 3, 64 tokens padded, ~40 real, 12 supervised of each sample"
        )
        assert record["ratio"] == pytest.approx(record["reference"] / record["ours"])


def test_where_memory_is_small_the_published_step_is_taken_in_passes(monkeypatch):
    played = []

    def play(kind, shape, size):
        played.append((kind, shape.batch, size))
        return {"seconds": 1.0, "memory": 10, "losses": LOSSES}

    monkeypatch.setattr(bench, "_play", play)
    monkeypatch.setattr(bench, "available_memory", lambda: 22 * 10**9)
    records = list(bench.run())
    assert played == [("ours", 4, 4), ("published", 4, 2)] and len(records) == 2
    assert all(record["case"].endswith("; the published side in passes of 2, for want of memory") for record in records)


@pytest.mark.parametrize(("gigabytes", "size"), [(1000, 4), (64, 4), (27, 2), (22, 2), (4, 1), (1, 1)])
def test_the_passes_of_the_published_step_follow_the_memory(gigabytes, size):
    assert bench.fitting_pass(bench.SHAPES[False], gigabytes * 10**9) == size


def test_there_is_some_memory():
    assert bench.available_memory() > 2**20


@pytest.mark.parametrize("wrong", [4.5006, float("nan")])
def test_other_losses_are_no_result(tiny, monkeypatch, wrong):
    losses = {"ours": LOSSES, "published": [{**LOSSES[0], "task": wrong}]}
    monkeypatch.setattr(bench, "_play", lambda kind, shape, size: {"losses": losses[kind]})
    with pytest.raises(BenchmarkError, match="step 1: the task loss is"):
        list(bench.run(quick=True))


def test_a_loss_that_one_side_lacks_is_found():
    with pytest.raises(BenchmarkError, match="the two sides have the losses"):
        bench.check_losses(LOSSES, [{"task": 4.5}])
