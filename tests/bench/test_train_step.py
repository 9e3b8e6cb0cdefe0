import pytest

from interlat.bench import train_step as bench
from interlat.errors import BenchmarkError

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}
TINY = bench.Shape(300, 3, 64, 40, 12, 32)
LOSSES = [{"total": 5.0, "task": 4.5, "separation": 0.6, "alignment": 0.4}]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(bench, "SHAPES", {True: TINY})


def test_one_record_a_metric(tiny):
    records = list(bench.run(quick=True))
    assert [record["metric"] for record in records] == ["step_seconds", "peak_memory"]
    for record in records:
        assert set(record) == FIELDS and record["bench"] == "train-step"
        assert record["case"] == (
            "smaller shape: vocabulary 300, batch 3, 64 tokens padded, ~40 real, 12 supervised of each sample"
        )
        assert record["ratio"] == pytest.approx(record["reference"] / record["ours"])


def test_where_memory_is_small_the_published_step_gets_a_smaller_batch_and_ours_is_also_run_at_the_whole(
    tiny, monkeypatch
):
    played = []

    def play(kind, shape):
        played.append((kind, shape.batch))
        return {"seconds": shape.batch, "memory": 10 * shape.batch, "losses": LOSSES}

    monkeypatch.setattr(bench, "_play", play)
    monkeypatch.setattr(bench, "fitting_batch", lambda shape, memory: 2)
    records = list(bench.run(quick=True))
    assert played == [("ours", 2), ("published", 2), ("ours", 3)]
    assert [(record["ours"], record["reference"]) for record in records] == [(2, 2), (20, 20), (3, 2), (30, 20)]
    assert "batch 2" in records[0]["case"] and "ours against the published step at batch 2" in records[2]["case"]


@pytest.mark.parametrize(("gigabytes", "batch"), [(1000, 4), (64, 4), (22, 2), (4, 1), (1, 1)])
def test_the_batch_of_the_published_step_follows_the_memory(gigabytes, batch):
    assert bench.fitting_batch(bench.SHAPES[False], gigabytes * 10**9) == batch


def test_there_is_some_memory():
    assert bench.available_memory() > 2**20


@pytest.mark.parametrize("wrong", [4.5002, float("nan")])
def test_other_losses_are_no_result(tiny, monkeypatch, wrong):
    losses = {"ours": LOSSES, "published": [{**LOSSES[0], "task": wrong}]}
    monkeypatch.setattr(bench, "_play", lambda kind, shape: {"losses": losses[kind]})
    with pytest.raises(BenchmarkError, match="step 1: the task loss is"):
        list(bench.run(quick=True))


def test_a_loss_that_one_side_lacks_is_found():
    with pytest.raises(BenchmarkError, match="the two sides have the losses"):
        bench.check_losses(LOSSES, [{"task": 4.5}])
