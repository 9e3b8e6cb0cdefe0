import pytest

from benchmarks import compress as bench
from interlat.errors import BenchmarkError

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}


@pytest.mark.slow
def test_a_record_for_the_step_and_one_for_its_latents(monkeypatch):
    monkeypatch.setattr(bench, "SHAPES", {True: bench.Shape(3, 2, 9, 14, 72, 4, 60, 16)})
    step, latents = bench.run(quick=True)
    for record in (step, latents):
        assert set(record) == FIELDS and record["bench"] == "compress" and record["metric"] == "step_seconds"
        assert record["case"].startswith("K=3 batch 2")
        assert record["ratio"] == pytest.approx(record["reference"] / record["ours"])
    assert latents["case"].endswith("the latents alone, forward and backward")


def test_other_losses_are_no_result(monkeypatch):
    sides = {"ours": 1.0, "plain": 1.001}
    monkeypatch.setattr(
        bench,
        "run_side",
        lambda module, words, name: {"losses": [{"task": sides[words[0]]}], "seconds": 1, "rollout": 1},
    )
    with pytest.raises(BenchmarkError, match="the task loss"):
        list(bench.run(quick=True))
