"""The stages on a cluster: what is computed without it, also where a node dies in the middle."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from interlat.cli.collect import Collect
from interlat.cli.evaluate import EvaluateCommand
from interlat.cli.team import RunTeam
from interlat.engine.distributed import Ranks
from interlat.engine.options import Sampling
from interlat.errors import InputError, StorageError
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.teams.topologies import TeamOptions

COSTS = ("seconds", "peak_memory_bytes", "agents")


def plain(records):
    return {(one["variant"], one["item"]): {k: v for k, v in one.items() if k not in COSTS} for one in records}


def evaluation(pair, folder, count, ray=0, **more):
    return EvaluateCommand(
        sender=str(pair["words"]), receiver=str(pair["words"]), environment="arithmetic", count=count,
        channels=("none", "text"), max_plan_tokens=20, max_new_tokens=20, dtype="float32", batch_size=1, threads=1,
        output=str(folder), inspected=0, ray=ray, **more,
    )  # fmt: skip


def lines_of(folder, torn=False):
    """All results in a folder; a last line without its end is left out where it may be torn."""
    lines = [line for path in sorted(Path(folder).glob("results*.jsonl")) for line in path.open()]
    return [json.loads(line) for line in lines if line.endswith("\n") or not torn]


def test_a_node_that_dies_loses_and_doubles_nothing(two_nodes, pair, tmp_path):
    cluster, second = two_nodes
    expected = plain(evaluation(pair, tmp_path / "alone", 80).run().records)
    seen = {}

    def kill():
        while len(list((tmp_path / "ray").glob("results-*.jsonl"))) < 3 or len(lines_of(tmp_path / "ray")) < 12:
            time.sleep(0.05)
        seen["before"] = len(lines_of(tmp_path / "ray"))
        cluster.remove_node(second, allow_graceful=False)
        seen["nodes"] = len(cluster.list_all_nodes())

    killer = threading.Thread(target=kill)
    killer.start()
    command = evaluation(pair, tmp_path / "ray", 80, ray=3)
    found = command.run()
    killer.join()
    # Three workers on four places of two nodes: at least one was on the second.
    assert seen["nodes"] == 1 and 12 <= seen["before"] < 160
    written = lines_of(tmp_path / "ray")
    assert len(written) == 160 == len({(one["variant"], one["item"]) for one in written}), "none lost, none doubled"
    assert plain(found.records) == expected
    assert command.report(found) == 0
    # With another number of workers, and with none, nothing is left to do.
    assert plain(evaluation(pair, tmp_path / "ray", 80).run().records) == expected


def test_a_disk_that_fills_up_loses_and_doubles_nothing(two_nodes, pair, tmp_path, filling_disk):
    disk, make_room = filling_disk
    expected = plain(evaluation(pair, tmp_path / "alone", 80).run().records)
    with pytest.raises(StorageError, match="free some space"):
        evaluation(pair, disk / "ray", 80, ray=3).run()
    kept = {(one["variant"], one["item"]) for one in lines_of(disk / "ray", torn=True)}
    assert 0 < len(kept) < 160
    make_room()
    found = evaluation(pair, disk / "ray", 80, ray=2).run()
    # What a third worker left of a line stays in its file; nobody counts it.
    written = lines_of(disk / "ray", torn=True)
    assert len(written) == 160 == len({(one["variant"], one["item"]) for one in written}), "none lost, none doubled"
    assert plain(found.records) == expected


def test_a_run_goes_on_with_another_number_of_workers(two_nodes, pair, tmp_path):
    cut = evaluation(pair, tmp_path / "run", 12)
    steps = cut.steps(Ranks())
    for _ in range(5):
        next(steps)
    steps.close()
    begun = len(lines_of(tmp_path / "run"))
    assert 0 < begun < 24
    found = evaluation(pair, tmp_path / "run", 12, ray=2).run()
    assert len(lines_of(tmp_path / "run")) == 24 == len(plain(found.records))


def test_thoughts_and_teams_are_shared_out(two_nodes, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stores = []
    for ray in (0, 2):
        command = Collect(
            model=str(pair["words"]), source=TaskSource("arithmetic", count=8), output=f"store-{ray}", dtype="float32",
            sampling=Sampling(max_new_tokens=6), ray=ray, threads=1,
        )  # fmt: skip
        store = command.run()
        stores.append({item: store.entry(item).plan for item in store.ids})
        assert command.report(store) == 0
    assert stores[0] == stores[1] and len(LatentStore.open("store-2")) == 8
    answers = []
    for ray in (0, 2):
        team = RunTeam(
            model=str(pair["words"]), output=f"team-{ray}", task=TaskSource("arithmetic", count=4), ray=ray, threads=1,
            variants=("single", "latent"), dtype="float32", arrangement="published",
            team=TeamOptions(latent_steps=2, sampling=Sampling(max_new_tokens=4)),
        )  # fmt: skip
        answers.append({(one["variant"], one["item"]): one["reply"] for one in team.run().records})
    assert answers[0] == answers[1] and len(answers[0]) == 8


def test_an_error_of_a_worker_is_the_commands_own(two_nodes, pair, tmp_path):
    with pytest.raises(InputError, match="nothing-of-that-name"):
        evaluation(pair, tmp_path / "run", 4, ray=2, connector="nothing-of-that-name").run()
    assert not os.path.exists(tmp_path / "run" / "results-0.jsonl")


def test_no_cluster_at_the_address_is_one_line(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(InputError, match="there is no Ray cluster at auto"):
        evaluation(pair, tmp_path / "run", 4, ray=2).run()
