import json
import os
import random
import re
import subprocess
import sys

import pytest

from interlat.environments.alfworld.game import AlfworldGame, find_games, item_of
from interlat.errors import InputError, WorldError


def run(program, **environment):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    for name in [name for name, value in environment.items() if value is None]:
        del variables[name]
    return subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)


@pytest.fixture(scope="module")
def game(small_games):
    game = AlfworldGame()
    game.load(small_games["train"][0])
    yield game
    game.close()


def random_plays(observation, rng):
    return rng.choice(observation.admissible_commands)


def test_steps_are_counted_and_won_comes_from_the_engine(game, small_games):
    from interlat.environments.alfworld.expert import Expert

    game.load(small_games["train"][0])
    expert = Expert(game.layout())
    observation = game.reset()
    assert (observation.steps, observation.won, observation.done) == (0, False, False)
    assert "Your task is to: " in observation.text
    observation = game.step("fly to the moon")
    assert (observation.text, observation.steps) == ("Nothing happens.", 1)
    observation = game.reset()
    while not observation.won:
        assert not observation.done
        observation = game.step(expert.next_command(observation))
    assert observation.done
    with pytest.raises(InputError, match="reset"):
        game.step("look")
    assert game.reset().steps == 0


def test_layout_says_what_the_game_shows(game, whole_rooms):
    game.load(whole_rooms[0])
    opening = game.reset()
    layout = game.layout()
    assert all(f"a {name}" in opening.text for name in layout.receptacles)
    positions = [re.search(rf"a {name}\b", opening.text).start() for name in layout.receptacles]
    assert positions == sorted(positions)
    assert {f"go to {name}" for name in layout.receptacles} <= set(opening.admissible_commands)
    assert layout.task_type == game.task_type == whole_rooms[0].parts[-3].split("-")[0]
    assert layout.target_type in layout.object_types.values()
    for place in layout.receptacles[:8]:
        text = game.step(f"go to {place}").text
        if place in layout.openable:
            assert text.endswith(f"The {place} is closed.")
            text = game.step(f"open {place}").text
        inside = {name for name, holder in layout.objects.items() if holder == place}
        assert set(re.findall(r"\ba ([a-z]+ \d+)", text)) == inside


def test_asking_for_the_layout_does_not_disturb_a_game(game, small_games):
    game.load(small_games["train"][1])
    opening = game.reset()
    before = game.layout()
    went = next(command for command in opening.admissible_commands if command.startswith("go to "))
    text = game.step(went).text
    assert game.layout() == before
    assert game.step(went.replace("go to", "examine")).text in text


def test_interleaved_games_equal_games_played_one_after_the_other(small_games):
    paths = small_games["train"][:4]
    alone = AlfworldGame()
    expected = []
    for number, path in enumerate(paths):
        alone.load(path)
        rng = random.Random(number)
        seen = [alone.reset()]
        for _ in range(12):
            seen.append(alone.step(random_plays(seen[-1], rng)))
        expected.append(seen)
    games = [AlfworldGame() for _ in paths]
    for game, path in zip(games, paths, strict=True):
        game.load(path)
    generators = [random.Random(number) for number in range(len(paths))]
    together = [[game.reset()] for game in games]
    order = random.Random(0)
    turns = [number for number in range(len(paths)) for _ in range(12)]
    order.shuffle(turns)
    for number in turns:
        seen = together[number]
        seen.append(games[number].step(random_plays(seen[-1], generators[number])))
    assert together == expected
    for game in (*games, alone):
        game.close()


def test_a_closed_engine_is_used_again(small_games):
    first = AlfworldGame()
    engine = first._environment
    first.close()
    second = AlfworldGame()
    assert second._environment is engine
    with pytest.raises(InputError, match="load"):
        second.reset()
    second.close()


def test_a_loaded_game_starts_again_without_being_translated_again(game, small_games, monkeypatch):
    import fast_downward

    game.load(small_games["train"][0])
    opening = game.reset()
    monkeypatch.setattr(fast_downward, "pddl2sas", lambda *_, **__: pytest.fail("translated again"))
    assert game.reset() == opening


def test_arguments_of_the_process_stay(game, small_games, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program", "--flag"])
    game.load(small_games["unseen"][0])
    assert sys.argv == ["program", "--flag"]


def test_missing_games_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(WorldError, match="ALFWORLD_DATA"):
        find_games(None, "train")
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    with pytest.raises(WorldError, match="alfworld-download"):
        find_games(None, "seen")
    with pytest.raises(InputError, match="train, seen, unseen"):
        find_games(tmp_path, "test")


def test_games_are_found_from_either_folder(small_games):
    root = small_games["train"][0].parents[4]
    assert find_games(root, "train") == find_games(root / "json_2.1.1", "train") == sorted(small_games["train"])
    assert item_of(small_games["train"][0]) == "/".join(small_games["train"][0].parts[-3:-1])


def test_a_damaged_game_is_an_error(game, tmp_path, small_games):
    with pytest.raises(WorldError, match="not a playable"):
        game.load(tmp_path / "game.tw-pddl")
    path = tmp_path / "game.tw-pddl"
    path.write_bytes(small_games["train"][0].read_bytes()[:1000])
    (tmp_path / "traj_data.json").write_text("{}")
    with pytest.raises(WorldError, match="not a playable"):
        game.load(path)
    with pytest.raises(InputError, match="load"):
        game.reset()
    for key, damage in (("pddl_problem", "(define"), ("grammar", "{")):
        path.write_text(json.dumps({**json.loads(small_games["train"][0].read_text()), key: damage}))
        with pytest.raises(WorldError, match="not a playable"):
            game.load(path)


def test_import_makes_no_folder_at_home(tmp_path):
    program = """
import os
from interlat.environments.alfworld.game import AlfworldGame
AlfworldGame()
print("ALFWORLD_DATA" in os.environ)
"""
    done = run(program, HOME=str(tmp_path), ALFWORLD_DATA=None)
    assert done.stdout == "False\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_line_that_installs_it():
    program = """
import sys
sys.modules["alfworld"] = None
from interlat.errors import WorldError
from interlat.environments.alfworld.game import AlfworldGame
try:
    AlfworldGame()
except WorldError as error:
    print(error)
"""
    done = run(program)
    assert 'pip install "interlat[alfworld]"' in done.stdout, done.stderr


OFFICIAL = """
import sys
sys.argv = ["x"]
from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv
env = {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6], "domain_randomization": False,
       "expert_type": "handcoded"}
config = {"env": env, "dataset": {"eval_ood_data_path": "ROOT/json_2.1.1/valid_unseen", "num_eval_games": -1},
          "general": {"training_method": "dqn"}, "rl": {"training": {"max_nb_steps_per_episode": 50}}}
environment = AlfredTWEnv(config, train_eval="eval_out_of_distribution")
assert environment.num_games == 6
playing = environment.init_env(batch_size=1)
for _ in range(2):
    observations, infos = playing.reset()
    assert "Your task is to: " in observations[0]
    command = next(c for c in infos["admissible_commands"][0] if c.startswith("go to "))
    observations, scores, dones, infos = playing.step([command])
    assert observations[0].startswith("You arrive at ")
print("played")
"""


@pytest.mark.slow
def test_playable_by_the_official_environment(small_games, tmp_path):
    root = small_games["unseen"][0].parents[4]
    done = run(OFFICIAL.replace("ROOT", str(root)), ALFWORLD_DATA=str(tmp_path))
    assert done.stdout.endswith("played\n"), done.stderr
