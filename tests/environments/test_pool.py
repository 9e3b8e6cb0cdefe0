import json
from dataclasses import asdict

import pytest

from counting_world import CountingWorld
from interlat.environments.pool import WorldPool
from interlat.environments.protocol import EnvironmentOptions, Outcome
from interlat.errors import InputError, WorldError
from interlat.tasks.parallel import LineProcess

WORLD = "counting_world:CountingWorld"
ITEMS = ["count/3", "count/4", "count/5"]
TURNS = [["1", "1", "1"], ["2", "x", "2"], ["3", "3", "3"], ["4", "4", "4"]]


def played(pool, items):
    """Every outcome of each item, all items side by side."""
    found = [pool.play(items, [[] for _ in items])]
    for count in range(1, len(TURNS) + 1):
        found.append(pool.play(items, [[turn[ITEMS.index(item)] for turn in TURNS[:count]] for item in items]))
    return [[outcomes[place] for outcomes in found] for place in range(len(items))]


def slowly(item):
    """The same without processes."""
    episode = CountingWorld(EnvironmentOptions()).episode(item)
    return [episode.start(), *(episode.step(turn[ITEMS.index(item)]) for turn in TURNS)]


def test_side_by_side_is_as_one_by_one_whatever_hangs_or_dies(tmp_path, capfd):
    expected = [slowly(item) for item in ITEMS]
    failures = {"hang": 3.0, "die": 60.0}
    for how, seconds in failures.items():
        options = {"fails_at": "3", "how": how, "mark": str(tmp_path / how)}
        pool = WorldPool(WORLD, EnvironmentOptions(workers=2, options=options), seconds=seconds)
        try:
            assert played(pool, ITEMS) == expected
            assert [played(pool, [item])[0] for item in ITEMS] == expected
        finally:
            pool.close()
        assert (tmp_path / how).exists()
    said = capfd.readouterr().err
    assert "hung at count/" in said and "died (exit code -9) at count/" in said and "action '3'" in said


def test_one_that_never_answers_is_an_error_and_no_result():
    options = {"fails_at": "1", "how": "die", "always": True}
    pool = WorldPool(WORLD, EnvironmentOptions(workers=1, options=options))
    try:
        with pytest.raises(WorldError, match="count/3"):
            pool.play(["count/3"], [["1"]])
        assert pool.play(["count/3"], [["2"]])[0].steps == 1
    finally:
        pool.close()


def test_what_a_world_refuses_comes_out_and_the_other_answers_stay_in_order():
    pool = WorldPool(WORLD, EnvironmentOptions(workers=2))
    try:
        with pytest.raises(InputError, match="action is raise"):
            pool.play(["count/3", "count/4"], [["raise"], ["1"]])
        third, fourth = pool.play(["count/3", "count/4"], [["1"], ["1"]])
        assert (third.score, fourth.score) == (1 / 3, 1 / 4)
        assert pool.ask("items")["items"][0] == json.loads(
            json.dumps(asdict(CountingWorld(EnvironmentOptions()).items()[0]))
        )
    finally:
        pool.close()


def test_a_new_worker_may_die_while_it_makes_its_world_and_has_time_for_all_actions(tmp_path):
    loading = tmp_path / "loading"
    pool = WorldPool(WORLD, EnvironmentOptions(workers=1, options={"loading": str(loading)}))
    request = ["play", "count/3", ["1", "2"]]
    try:
        assert pool._actions_to_take(0, request) == 3
        pool.play(["count/3"], [["1"]])
        assert pool._actions_to_take(0, request) == 1
        loading.touch()
        pool._workers[0].process.kill()
        assert pool.play(["count/3"], [["1", "2"]]) == [Outcome("at 2", score=2 / 3, steps=2)]
        assert not loading.exists()
        with pytest.raises(InputError, match="raise"):
            pool.play(["count/3"], [["1", "2", "raise"]])
        assert pool._actions_to_take(0, request) == 3, "an episode that broke off is played again"
    finally:
        pool.close()


def test_an_expert_has_the_time_of_an_action_(monkeypatch):
    pool = WorldPool(WORLD, EnvironmentOptions(workers=2), seconds=7.0, seconds_to_load=900.0)
    waited = []
    monkeypatch.setattr(LineProcess, "receive", spied(LineProcess.receive, waited))
    try:
        pool.ask("items")
        pool.ask("expert", "count/2")
        assert waited == [900.0, 900.0, 7.0], "the world, its items, a plan"
    finally:
        pool.close()


def spied(receive, waited):
    def call(self, seconds=None):
        waited.append(seconds)
        return receive(self, seconds)

    return call


def test_no_workers_and_no_world_are_refused():
    with pytest.raises(InputError, match="workers is 0"):
        WorldPool(WORLD, EnvironmentOptions(workers=0))
    with pytest.raises(InputError, match="refuse is set"):
        WorldPool(WORLD, EnvironmentOptions(options={"refuse": True})).ask("items")
    with pytest.raises(WorldError, match="before its world was made"):
        WorldPool("counting_world:Nothing", EnvironmentOptions()).ask("items")
