import pytest

from interlat.environments.alfworld.game import AlfworldGame
from interlat.environments.alfworld.games import LoadedGames
from interlat.errors import InputError


@pytest.fixture(scope="module")
def expected(small_games):
    """For each of three games some commands and what they answer, one game after the other."""
    game, found = AlfworldGame(), {}
    for path in small_games["train"][:3]:
        game.load(path)
        seen = game.reset()
        found[path] = [("", seen)]
        for turn in range(6):
            command = seen.admissible_commands[(7 * turn) % len(seen.admissible_commands)]
            seen = game.step(command)
            found[path].append((command, seen))
    game.close()
    return found


@pytest.mark.parametrize("kept", [1, 2, 8])
def test_games_that_give_way_are_played_again_to_the_same_answers(expected, kept):
    games = LoadedGames(kept)
    numbers = {path: games.begun(path)[0] for path in expected}
    for turn in range(1, 7):
        for path, turns in expected.items():
            taken = [command for command, _ in turns[1:turn]]
            assert games.step(numbers[path], path, taken, turns[turn][0]) == turns[turn][1]
    assert len(games._games) == min(kept, 3)


def test_two_episodes_of_a_game_do_not_touch_each_other(expected):
    games, (path, turns) = LoadedGames(), next(iter(expected.items()))
    (first, opening), (second, again) = games.begun(path), games.begun(path)
    assert opening == again == turns[0][1]
    for turn in range(1, 4):
        taken = [command for command, _ in turns[1:turn]]
        for number in (first, second):
            assert games.step(number, path, taken, turns[turn][0]) == turns[turn][1]
    games.reset(path)
    assert games.step(first, path, [command for command, _ in turns[1:4]], turns[4][0]) == turns[4][1]


def test_at_least_one_is_kept():
    with pytest.raises(InputError, match="kept is 0"):
        LoadedGames(0)
