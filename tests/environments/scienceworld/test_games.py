from interlat.environments.scienceworld.games import Game, Games
from toy_scienceworld import ToyMachine

FIND, HEAT = Game("find", 1, "easy"), Game("heat", 2, "")


def test_an_episode_keeps_its_simulator_and_one_that_gave_way_is_played_again():
    machine = ToyMachine()
    games = Games(machine.simulator, kept=2)
    first, second, third = (games.number() for _ in range(3))
    one = games.at(first, FIND, [])
    assert one.taken == ["look around"] and one.loaded == ("find", 1, "easy")
    one.step("wait")
    assert games.at(second, HEAT, []).loaded == ("heat", 2, "")
    assert games.at(first, FIND, ["wait"]) is one and len(machine.made) == 2
    games.at(third, FIND, [])
    # The second was used longest ago; the first goes on where it is.
    assert games.at(first, FIND, ["wait"]) is one and len(machine.made) == 3
    again = games.at(second, HEAT, ["open door", "wait"])
    assert again is machine.made[3] and again.taken == ["look around", "open door", "wait"]


def test_an_ended_episode_gives_its_simulator_up():
    machine = ToyMachine()
    games = Games(machine.simulator, kept=9)
    ended = games.number()
    simulator = games.at(ended, FIND, [])
    games.end(ended)
    games.end(ended)
    assert games.at(ended, FIND, ["wait"]) is not simulator


def test_the_gold_path_is_made_only_where_it_is_wanted():
    machine = ToyMachine()
    games = Games(machine.simulator, kept=1)
    assert games.gold(FIND) == ["open door", "use find 1"] and machine.made[0].taken == []
    assert not games.begun(FIND).gold
