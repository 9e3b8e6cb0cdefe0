import pytest
import torch

from benchmarks.store_play import play, thoughts


def test_both_sides_read_back_what_they_wrote(tmp_path):
    for kind in ("ours", "published"):
        result = play(kind, str(tmp_path / kind), 6, 8, 16, 4)
        assert result["same"] and result["bytes"] > 0 and result["write"] > 0 and result["access"] > 0


def test_a_side_that_reads_something_else_is_found_out(tmp_path, monkeypatch):
    reader = lambda target: lambda number: torch.zeros(1, 16)  # noqa: E731
    monkeypatch.setattr("benchmarks.store_play._read_store", reader)
    assert not play("ours", str(tmp_path / "ours"), 6, 8, 16, 4)["same"]


@pytest.mark.parametrize("items", [5, 200])
def test_thoughts_differ_and_have_about_the_length_asked_for(items):
    made = list(thoughts(items, 40, 4))
    lengths = [len(rows) for rows in made]
    assert len(made) == items and min(lengths) >= 30 and max(lengths) <= 50
    assert items < 100 or sum(lengths) / items == pytest.approx(40, rel=0.05)
    assert not torch.equal(made[0][:30], made[1][:30])
