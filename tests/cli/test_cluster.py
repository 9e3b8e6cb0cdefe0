"""What a worker does, without Ray; `tests/ray` has it on a cluster."""

import sys

import pytest

from interlat.cli import cluster as module
from interlat.cli.cluster import Share, Worker, on_ray
from interlat.cli.evaluate import EvaluateCommand
from interlat.config import read_fields, write_config
from interlat.engine.distributed import Ranks
from interlat.errors import InputError, InterlatError, StorageError


@pytest.fixture
def command(pair, tmp_path):
    return EvaluateCommand(
        sender=str(pair["words"]), receiver=str(pair["words"]), environment="arithmetic", count=5, channels=("none",),
        max_new_tokens=3, dtype="float32", threads=1, output=str(tmp_path / "run"), inspected=0, ray=2,
    )  # fmt: skip


@pytest.fixture
def worker(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(command, tmp_path)
    kind = f"{EvaluateCommand.__module__}:{EvaluateCommand.__qualname__}"
    return Worker(kind, read_fields(tmp_path / "config.yaml"), str(tmp_path))


def test_workers_do_their_shares_and_one_ends_the_run(worker, tmp_path):
    assert worker.done() == (0, 0)
    for rank, count in ((0, 3), (1, 2)):
        assert worker.work(rank, 2) == ("", "") and worker.done() == (count, count)
        assert len((tmp_path / "run" / f"results-{rank}.jsonl").read_text().splitlines()) == count
    assert worker.work(0, 0) == ("", "") and worker.done() == (5, 5)
    assert not (tmp_path / "run" / "results.jsonl").exists(), "nothing was left to play"


def test_errors_are_words(worker, pair):
    (pair["words"] / "config.json").rename(pair["words"] / "config.gone")
    try:
        kind, text = worker.work(0, 2)
    finally:
        (pair["words"] / "config.gone").rename(pair["words"] / "config.json")
    assert kind == "CheckpointError" and "config.json" in text


def test_a_share_is_done_by_one_at_a_time(tmp_path):
    first, same, other = Share(0, 2), Share(0, 2), Share(1, 2)
    assert not first.is_first and first.share([1, 2, 3]) == [1, 3]
    first.wait()
    taken = pytest.raises(StorageError, match="another process")
    with first.together() as ranks, ranks.alone_in(tmp_path), other.alone_in(tmp_path), taken, same.alone_in(tmp_path):
        pass
    with same.alone_in(tmp_path):
        pass


def test_ray_that_is_missing_and_no_workers_are_said(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"interlat\[ray\]"):
        next(on_ray(command))
    object.__setattr__(command, "ray", -1)
    with pytest.raises(InputError, match="ray is -1 workers"):
        next(on_ray(command))


def test_connected_ranks_are_not_connected_again(monkeypatch):
    from torch import distributed

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "init_process_group", lambda *args, **more: pytest.fail("connected twice"))
    with Ranks(0, 2).together() as ranks:
        assert ranks.world_size == 2


class DyingCluster:
    """A Ray whose workers finish so many items more, and die; from the given one on they live."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

        class GetTimeoutError(RayError):
            pass

    def __init__(self, finished, lives=None):
        self.finished, self.lives, self.made = list(finished), lives, 0

    def make(self):
        self.made += 1
        number = self.made
        remote = lambda answer: type("Method", (), {"remote": staticmethod(answer)})  # noqa: E731
        return type(
            "Worker", (), {
                "work": remote(lambda rank, shares: ("work", number)),
                "done": remote(lambda: ("done", number)),
                "__ray_terminate__": remote(lambda: None),
            },
        )  # fmt: skip

    def wait(self, running, timeout):
        return running, []

    def get(self, asked, timeout=None):
        what, number = asked
        if what == "done":
            return self.finished[min(number, len(self.finished)) - 1], 10
        if self.lives is None or number < self.lives:
            raise self.exceptions.RayError("out of memory")
        return "", ""


def shared(cluster, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0)
    return list(module._share_out(cluster, cluster.make, 1, [0]))


def test_a_share_that_dies_without_finishing_anything_is_given_up(monkeypatch):
    """Also where a new worker first says how much was finished before it."""
    for finished, makes in (([0], 3), ([5], 3), ([2, 4, 4, 4, 4], 4)):
        cluster = DyingCluster(finished)
        with pytest.raises(InterlatError, match=r"died 3 times.*out of memory"):
            shared(cluster, monkeypatch)
        assert cluster.made == makes, finished


def test_a_share_that_gets_on_is_begun_again_as_often_as_it_takes(monkeypatch):
    cluster = DyingCluster([1, 2, 3, 4, 5, 6, 7, 10], lives=8)
    assert shared(cluster, monkeypatch)[-1] == (10, 10) and cluster.made == 8


def test_errors_of_other_packages_are_one_line_too():
    with pytest.raises(InputError, match="no such thing"):
        module._raise("InputError", "no such thing")
    with pytest.raises(InterlatError, match="theirs"):
        module._raise("TheirError", "theirs")
    module._raise("", "")
