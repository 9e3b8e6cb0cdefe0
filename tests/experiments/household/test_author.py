import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from interlat.environments.alfworld.scene import constants, floors_of
from interlat.errors import InputError, WorldError
from interlat.experiments.household.author import MINI_ROOMS, TASK_TYPES, AuthorOptions, author_games

SMALL_ROOMS = AuthorOptions(maximum_receptacles=12, density=0.2, exact_targets=True)
IN_RECEPTACLE = re.compile(r"\(inReceptacle (\S+) (\S+)\)")

DIGEST_PROGRAM = """
import hashlib, sys
from pathlib import Path
from interlat.experiments.household.author import author_games
digest = hashlib.sha256()
for path in author_games(sys.argv[1], 6, "seen", 3):
    for file in sorted(path.parent.iterdir()):
        digest.update(str(file.relative_to(sys.argv[1])).encode() + file.read_bytes())
print(digest.hexdigest())
"""


def placement(path):
    """What decides how a game goes: task, room, and the receptacle of each object's type."""
    text = (path.parent / "initial_state.pddl").read_text()
    return path.parts[-3], tuple(sorted((name.split("_bar_")[0], place) for name, place in IN_RECEPTACLE.findall(text)))


def trajectory(path):
    return json.loads((path.parent / "traj_data.json").read_text())


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path):
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", DIGEST_PROGRAM, str(tmp_path / seed)]
        digests.add(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert len(digests) == 1


def test_bytes_of_the_recipes_games_stay_the_same(tmp_path):
    """Whoever changes what is drawn makes the bundled checkpoints' games other games: train again, then change this."""
    digest = hashlib.sha256()
    for path in author_games(tmp_path, 8, "train", 1, MINI_ROOMS):
        digest.update((path.parent / "initial_state.pddl").read_bytes())
    assert digest.hexdigest()[:16] == "a31f4926be5584f1"


@pytest.mark.parametrize("split", ["train", "seen", "unseen"])
def test_scenes_follow_alfreds_split(split, tmp_path):
    training = set(constants().TRAIN_SCENE_NUMBERS)
    assert len(floors_of(split)) == (24 if split == "unseen" else 96)
    for path in author_games(tmp_path, 12, split, 0, SMALL_ROOMS):
        floor = trajectory(path)["scene"]["scene_num"]
        assert (floor in training) == (split != "unseen")
        assert path.parts[-3].endswith(f"-{floor}")


def test_no_seen_game_is_a_train_game(tmp_path):
    train = {placement(path) for path in author_games(tmp_path, 120, "train", 0, SMALL_ROOMS)}
    seen = {placement(path) for path in author_games(tmp_path, 120, "seen", 0, SMALL_ROOMS)}
    assert len(train) == 120
    assert not train & seen


def test_task_types_take_turns(small_games):
    assert Counter(trajectory(path)["task_type"] for path in small_games["train"]) == Counter(TASK_TYPES)


def test_exact_targets(tmp_path):
    for path in author_games(tmp_path, 24, "train", 5, SMALL_ROOMS):
        parameters = trajectory(path)["pddl_params"]
        kinds = Counter(kind for kind, _ in placement(path)[1])
        assert kinds[parameters["object_target"]] == (2 if "pick_two" in path.parts[-3] else 1)
        if parameters["toggle_target"]:
            assert kinds["DeskLamp"] == 1


def test_authoring_again_changes_nothing_and_continues(tmp_path):
    first = list(author_games(tmp_path, 3, "train", 0, SMALL_ROOMS))
    stamps = [path.stat().st_mtime_ns for path in first]
    again = list(author_games(tmp_path, 5, "train", 0, SMALL_ROOMS))
    assert again[:3] == first
    assert [path.stat().st_mtime_ns for path in first] == stamps


def test_a_file_of_another_game_is_kept(tmp_path):
    (path,) = author_games(tmp_path, 1, "train", 0, SMALL_ROOMS)
    path.write_text("{}")
    with pytest.raises(WorldError, match="holds another game"):
        list(author_games(tmp_path, 1, "train", 0, SMALL_ROOMS))
    assert path.read_text() == "{}"


def test_unknown_split_names_the_three(tmp_path):
    with pytest.raises(InputError, match="train, seen, unseen"):
        list(author_games(tmp_path, 1, "valid", 0))


@pytest.mark.parametrize("wrong", [{"density": 1.5}, {"task_types": ("pick_three",)}, {"task_types": ()}])
def test_options_are_checked(wrong):
    with pytest.raises(InputError):
        AuthorOptions(**wrong)


def test_no_games_is_an_error(tmp_path):
    with pytest.raises(InputError, match="at least 1"):
        list(author_games(tmp_path, 0, "train", 0))


def test_impossible_options_end_with_an_error(tmp_path):
    with pytest.raises(WorldError, match="minimum_places"):
        list(author_games(tmp_path, 1, "train", 0, AuthorOptions(minimum_places=90)))
