import pytest

from benchmarks import evaluation as bench
from interlat.errors import BenchmarkError


@pytest.mark.slow
def test_one_record_a_variant_and_both_sides_play_alike(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "EFFORT", {bench.SMALL: {True: bench.Effort(games=4, plain_games=2)}})
    monkeypatch.setattr(bench, "known_folder", lambda name: tmp_path / "nothing fetched")
    records = list(bench.run(quick=True))
    assert [record["case"] for record in records] == [f"household, {name}" for name in ("none", "text", "latent")]
    assert all(record["unit"] == "episodes/min" and record["ours"] > 0 for record in records)


def test_other_actions_are_no_result(monkeypatch):
    def play(kind, case, games, count, folder):
        return {name: {"seconds": 1.0, "actions": {"a game": [kind]}} for name in bench.VARIANTS}

    monkeypatch.setattr(bench, "demo_games", lambda folder, games, language: [{"item": "a game"}])
    monkeypatch.setattr(bench, "_play", play)
    with pytest.raises(BenchmarkError, match="different actions"):
        list(bench.run(quick=True))


def test_a_rate_counts_the_games_of_its_side_and_a_real_model_plays_where_it_is(monkeypatch, tmp_path):
    def play(kind, case, games, count, folder):
        played = {f"game {number}": ["look"] for number in range(4 if kind == "ours" else 2)}
        return {name: {"seconds": 2.0 if kind == "ours" else 8.0, "actions": played} for name in bench.VARIANTS}

    monkeypatch.setattr(bench, "demo_games", lambda folder, games, language: [{"item": "a game"}])
    monkeypatch.setattr(bench, "_play", play)
    monkeypatch.setattr(bench, "known_folder", lambda name: tmp_path)
    records = list(bench.run(quick=True))
    assert [record["case"] for record in records] == [
        f"{case}, {variant}" for case in (bench.SMALL, bench.REAL) for variant in bench.VARIANTS
    ]
    record = records[0]
    assert (record["ours"], record["reference"], record["ratio"]) == (120.0, 15.0, 8.0)
