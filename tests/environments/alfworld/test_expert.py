import pytest

from interlat.environments.alfworld.expert import Expert, needs_of, optimal_steps
from interlat.environments.alfworld.game import AlfworldGame
from interlat.experiments.household.author import AuthorOptions, author_games
from interlat.experiments.household.verify import verify_games


def play(game, expert, limit=60):
    observation = game.reset()
    commands = []
    while not observation.won and observation.steps < limit:
        commands.append(expert.next_command(observation))
        observation = game.step(commands[-1])
    return observation, commands


@pytest.fixture(scope="module")
def game():
    game = AlfworldGame()
    yield game
    game.close()


def test_wins_every_task_type_in_the_fewest_steps(game, small_games, whole_rooms):
    for path in (*small_games["unseen"], *whole_rooms[:3]):
        game.load(path)
        layout = game.layout()
        observation, commands = play(game, Expert(layout))
        assert observation.won, (path, commands)
        assert observation.steps == optimal_steps(layout)


def test_searches_in_the_given_order(game, small_games):
    for path in small_games["train"]:
        game.load(path)
        layout = game.layout()
        needed = needs_of(layout)
        orders = [[*layout.plausible_places(kind)[::-1]] for kind, _ in needed]
        observation, commands = play(game, Expert(layout, orders))
        assert observation.won
        visited = [command.removeprefix("go to ") for command in commands if command.startswith("go to ")]
        true_place = layout.objects[needed[0][1]]
        assert visited[: orders[0].index(true_place) + 1][:1] == orders[0][:1]


def test_finds_what_the_order_does_not_name(game, small_games):
    game.load(small_games["train"][0])
    layout = game.layout()
    observation, _ = play(game, Expert(layout, [[]]))
    assert observation.won


def test_plays_games_with_the_first_texts(game, tmp_path):
    options = AuthorOptions(maximum_receptacles=12, density=0.2, legacy_text=True)
    (path,) = author_games(tmp_path, 1, "train", 0, options)
    game.load(path)
    observation, commands = play(game, Expert(game.layout()))
    assert observation.won
    assert commands[-1].startswith("put ")
    assert "help" not in observation.admissible_commands


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "options", [AuthorOptions(), AuthorOptions(maximum_receptacles=12, density=0.2, exact_targets=True)]
)
@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_wins_nearly_always(split, options, tmp_path):
    games = list(author_games(tmp_path, 60, split, 8, options))
    verdicts = list(verify_games(games))
    assert [verdict.game for verdict in verdicts] == games
    assert sum(verdict.won for verdict in verdicts) >= 0.98 * len(games)
