import importlib
import re
from pathlib import Path

import pytest

from counting_world import Counting
from interlat.environments.protocol import EnvironmentOptions, Outcome, PlaysItself
from interlat.environments.verification import verified
from interlat.environments.world_environment import WorldEnvironment
from interlat.errors import InputError, WorldError


@pytest.fixture(scope="module")
def environment():
    made = Counting(EnvironmentOptions(workers=1, split="odd"))
    yield made
    made.close()


def test_an_action_is_found_in_the_reply_and_counted_once(environment):
    one, three = environment.items()[:2]
    assert (one.id, three.id, three.family) == ("count/1", "count/3", ("count", "3"))
    assert environment.origin == {"data": "numbers"}
    assert [seen.text for seen in environment.start([one, three])] == ["count to 1", "count to 3"]
    first, second = environment.step([one, three], ["Thought: up.\nAction: 1", "<think>1"])
    assert (first.action, first.success, first.steps) == ("1", True, 1)
    assert (second.action, second.score, second.steps) == ("", 0.0, 1)
    [again] = environment.start([three])
    assert again.steps == 0 and environment.step([three], ["1"])[0].score == 1 / 3


def test_a_step_before_the_start_is_refused(environment):
    with pytest.raises(WorldError, match="count/5"):
        environment.step([environment.items()[2]], ["1"])


def test_players_are_the_worlds_expert_and_a_seeded_one(environment):
    assert isinstance(environment, PlaysItself)
    item, seen = environment.items()[1], Outcome("")
    expert = environment.expert_policy(item)
    assert [expert(seen) for _ in range(4)] == ["1", "2", "3", ""]
    draws = [[policy(seen) for _ in range(9)] for policy in (environment.random_policy(item, n) for n in (0, 0, 1))]
    assert draws[0] == draws[1] != draws[2]


def test_without_a_random_player_one_line_says_so():
    class Plain(WorldEnvironment):
        name, world = "plain", "counting_world:CountingWorld"

    environment = Plain(EnvironmentOptions(workers=1, limit=1))
    try:
        with pytest.raises(InputError, match=r"plain.*random_action"):
            list(verified(environment, environment.items(), seed=0))
    finally:
        environment.close()


def test_the_environment_of_the_how_to_is_verified(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "environments.md").read_text()
    [code] = [one for one in re.findall(r"```python\n(.+?)```", guide, re.DOTALL) if "class StairsWorld" in one]
    (tmp_path / "stairs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    environment = importlib.import_module("stairs").Stairs(EnvironmentOptions(limit=4, workers=1))
    try:
        found = list(verified(environment, environment.items(), seed=0))
    finally:
        environment.close()
    assert [one.expert_solved for one in found] == [True] * 4 and sum(one.random_score for one in found) < 4
