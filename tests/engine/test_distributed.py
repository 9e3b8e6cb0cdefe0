import pytest

from interlat.engine.distributed import Ranks
from interlat.errors import InputError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


def test_without_torchrun_there_is_one_process(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    ranks = Ranks.from_environment()
    assert ranks == Ranks(0, 1, 0) and ranks.is_first
    with ranks.together() as joined:
        joined.wait()


@pytest.mark.parametrize("values", [("1", "1", "0"), ("0", "two", "0"), ("0", "", "0"), ("-1", "2", "0")])
def test_contradictions_are_refused(monkeypatch, values):
    for name, value in zip(NAMES, values, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="torchrun"):
        Ranks.from_environment()


def test_shares_are_disjoint_and_equally_heavy(monkeypatch):
    for name, value in zip(NAMES, ("2", "3", "2"), strict=True):
        monkeypatch.setenv(name, value)
    assert Ranks.from_environment() == Ranks(2, 3, 2)
    shares = [Ranks(rank, 3).share(range(10, 0, -1)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(1, 11))
    assert max(map(sum, shares)) - min(map(sum, shares)) <= 10


def test_the_device_is_the_rank_s_own(monkeypatch):
    assert Ranks(1, 2, 1).device("cpu") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Ranks(1, 2, 1).device("auto") == "cuda:1"
    assert Ranks(1, 2, 1).device("cuda:0") == "cuda:0"
