import random

import pytest

from interlat.environments.alfworld.game import AlfworldGame
from interlat.environments.alfworld.pool import GamePool
from interlat.errors import InputError, WorldError
from interlat.experiments.household.author import AuthorOptions, author_games


@pytest.fixture(scope="module")
def pool():
    with GamePool(workers=2, games_kept=6) as pool:
        yield pool


def test_equals_a_single_process(pool, small_games):
    paths = small_games["train"]
    seen = pool.reset(paths)
    openings = seen
    rng = random.Random(0)
    commands = []
    for _ in range(10):
        commands.append([rng.choice(observation.admissible_commands) for observation in seen])
        seen = pool.step(paths, commands[-1])
    layouts = pool.layouts(paths)
    game = AlfworldGame()
    for number, path in enumerate(paths):
        game.load(path)
        assert game.reset() == openings[number]
        assert [game.step(given[number]) for given in commands][-1] == seen[number]
        assert game.layout() == layouts[number]
    game.close()


def test_the_order_of_the_games_is_the_callers(pool, small_games):
    paths = small_games["train"]
    forward = pool.reset(paths)
    assert pool.reset(paths[::-1]) == forward[::-1]
    assert pool.step(paths[2:4][::-1], ["look", "look"])[0].steps == 1
    assert pool.reset([]) == []


def test_an_error_of_one_game_leaves_the_others_in_step(pool, small_games, tmp_path):
    paths = small_games["train"]
    expected = pool.reset(paths)
    with pytest.raises(WorldError, match="not a playable"):
        pool.reset([paths[0], tmp_path / "none" / "game.tw-pddl", *paths[1:]])
    assert pool.reset(paths) == expected


def test_a_game_that_was_not_started_is_an_error(pool, small_games):
    with pytest.raises(WorldError, match="games_kept"):
        pool.step(small_games["unseen"][:1], ["look"])


def test_more_games_than_are_kept_can_be_played_in_turn(small_games):
    with GamePool(workers=1, games_kept=1) as pool:
        for path in small_games["train"][:2] * 2:
            assert pool.reset([path])[0].steps == 0
            assert pool.step([path], ["look"])[0].steps == 1


def test_a_killed_worker_is_named_with_its_game(small_games):
    paths = small_games["train"][:2]
    with GamePool(workers=2) as pool:
        pool.reset(paths)
        pool._workers[1].process.kill()
        pool._workers[1].process.wait()
        with pytest.raises(WorldError, match=paths[1].parts[-2]):
            pool.step(paths, ["look", "look"])


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"games_kept": 0}])
def test_arguments_are_checked(wrong):
    with pytest.raises(InputError, match="at least 1"):
        GamePool(**wrong)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_games_at_once(tmp_path):
    options = AuthorOptions(maximum_receptacles=12, density=0.2, exact_targets=True)
    paths = list(author_games(tmp_path, 100, "train", 2, options))
    with GamePool(workers=2, games_kept=50) as pool:
        seen = pool.reset(paths)
        rng = random.Random(0)
        for _ in range(5):
            seen = pool.step(paths, [rng.choice(observation.admissible_commands) for observation in seen])
        assert {observation.steps for observation in seen} == {5}
