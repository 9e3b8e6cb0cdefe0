import pytest

from benchmarks import evaluation as bench
from interlat.errors import BenchmarkError


@pytest.mark.slow
def test_one_record_a_variant_and_both_sides_play_alike(monkeypatch):
    monkeypatch.setattr(bench, "EFFORT", {True: bench.Effort(games=4, plain_games=2)})
    records = list(bench.run(quick=True))
    assert [record["case"] for record in records] == ["household, text", "household, latent"]
    assert all(record["unit"] == "episodes/min" and record["ours"] > 0 for record in records)


def test_other_actions_are_no_result(monkeypatch):
    def play(kind, games, count, folder):
        return {name: {"seconds": 1.0, "actions": {"a game": [kind]}} for name in bench.VARIANTS}

    monkeypatch.setattr(bench, "demo_games", lambda folder, games: [{"item": "a game"}])
    monkeypatch.setattr(bench, "_play", play)
    with pytest.raises(BenchmarkError, match="different actions"):
        list(bench.run(quick=True))


def test_a_rate_counts_the_games_of_its_side(monkeypatch):
    def play(kind, games, count, folder):
        played = {f"game {number}": ["look"] for number in range(4 if kind == "ours" else 2)}
        return {name: {"seconds": 2.0 if kind == "ours" else 8.0, "actions": played} for name in bench.VARIANTS}

    monkeypatch.setattr(bench, "demo_games", lambda folder, games: [{"item": "a game"}])
    monkeypatch.setattr(bench, "_play", play)
    (record, _) = bench.run(quick=True)
    assert (record["ours"], record["reference"], record["ratio"]) == (120.0, 15.0, 8.0)
