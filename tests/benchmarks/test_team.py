import pytest

from benchmarks import team as bench
from interlat.errors import BenchmarkError

TINY = bench.Shape(3, 12, 8, 4, 128, 1, 200, latent_steps=2, members=3)


@pytest.mark.slow
def test_two_figures_for_speed_and_two_for_memory(monkeypatch):
    monkeypatch.setattr(bench, "SHAPES", {True: TINY})
    records = list(bench.run(quick=True))
    assert [record["metric"] for record in records] == ["items_per_second"] * 2 + ["peak_memory"] * 2
    assert records[0]["case"].startswith("latent 3 agents, 2 steps, batch 8: 3 questions")
    assert records[1]["case"].endswith("the question read once") and records[3]["case"] == records[1]["case"]
    for record in records[:2]:
        assert record["ratio"] == pytest.approx(record["ours"] / record["reference"])
    assert records[0]["reference"] == records[1]["reference"] > 0


@pytest.mark.parametrize("side", ["rows", "batch"])
def test_other_tokens_are_no_result(side):
    found = {name: {"tokens": [[1, 2], [3, 4]]} for name in bench.SIDES}
    bench.check_tokens(found)
    found[side] = {"tokens": [[1, 2], [3, 5]]}
    with pytest.raises(BenchmarkError, match=f"the {side} side of the plain loop wrote other tokens"):
        bench.check_tokens(found)


def test_a_shared_question_must_give_as_many_tokens():
    found = {name: {"tokens": [[1, 2], [3, 4]]} for name in bench.SIDES}
    found["shared"] = {"tokens": [[5, 6], [7]]}
    with pytest.raises(BenchmarkError, match="other numbers of tokens"):
        bench.check_tokens(found)
