import json
import shutil

import pytest

from interlat.environments.alfworld.files import data_folder, games_in, read_json
from interlat.errors import InputError, WorldError
from interlat.tasks.conversations import TASK_TYPES

FOLDERS = ("train", "valid_seen", "valid_unseen")


@pytest.fixture
def official(tmp_path, small_games):
    """Authored games in the official layout, with what the official folder has besides: games that its loader skips."""
    root = tmp_path / "alfworld"
    shutil.copytree(small_games["train"][0].parents[4], root)
    folder = root / "json_2.1.1" / "valid_unseen"
    trial = sorted(folder.glob("*/*"))[0]
    for task in (
        "pick_and_place_with_movable_recep-Mug-Pan-Desk-1",
        "pick_heat_then_place_in_recep-AppleSliced-None-Sink-1",
    ):
        shutil.copytree(trial, folder / task / "trial_T1")
    for name, change in (("T2", {"solvable": False}), ("T3", None), ("T4", {})):
        other = trial.parent / f"trial_{name}"
        shutil.copytree(trial, other)
        game = read_json(other / "game.tw-pddl")
        if change is None:
            (other / "game.tw-pddl").unlink()
        elif change:
            (other / "game.tw-pddl").write_text(json.dumps({**game, **change}))
        else:
            del game["solvable"]
            (other / "game.tw-pddl").write_text(json.dumps(game))
    return root


def test_the_games_that_the_official_loader_takes(official):
    found = games_in(data_folder([str(official)]), FOLDERS)
    assert [game.split for game in found.games] == ["train"] * 6 + ["valid_unseen"] * 6
    assert found.skipped == {"movable or sliced": 2, "not solvable": 2, "no game file": 1}
    assert {game.task_type for game in found.games} == set(TASK_TYPES)
    assert all((data_folder([str(official)]) / game.id / "game.tw-pddl") == game.path for game in found.games)


def test_alfworlds_own_loader_takes_the_same(official):
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    config = {
        "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6]},
        "dataset": {
            "eval_ood_data_path": str(official / "json_2.1.1" / "valid_unseen"),
            "num_eval_games": 0,
            "num_train_games": 0,
        },
    }
    loader = AlfredTWEnv(config, train_eval="eval_out_of_distribution")
    found = games_in(data_folder([str(official)]), ("valid_unseen",))
    assert sorted(loader.game_files) == [str(game.path) for game in found.games]


def test_a_task_type_chooses_and_other_types_are_not_counted(official):
    found = games_in(data_folder([str(official)]), ("train",), (TASK_TYPES[1],))
    assert [game.task_type for game in found.games] == [TASK_TYPES[1]] and not found.skipped


def test_the_folder_is_data_or_the_variable_and_holds_the_splits_or_their_folder(official, monkeypatch, tmp_path):
    inner = official / "json_2.1.1"
    assert data_folder([str(official)]) == data_folder([str(inner)]) == inner
    monkeypatch.setenv("ALFWORLD_DATA", str(official))
    assert data_folder([]) == inner
    monkeypatch.delenv("ALFWORLD_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WorldError, match=r"ALFWORLD_DATA is not set.*alfworld-download.*worlds make alfworld"):
        data_folder([])
    shutil.copytree(official, tmp_path / ".cache" / "alfworld")
    assert data_folder([]) == tmp_path / ".cache" / "alfworld" / "json_2.1.1"


def test_what_is_not_there_is_said_with_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(WorldError, match=f"data is {tmp_path}.*alfworld-download"):
        data_folder([str(tmp_path)])
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(WorldError, match=r"ALFWORLD_DATA is .*nowhere"):
        data_folder([])
    with pytest.raises(InputError, match=r"data is .*one folder"):
        data_folder(["a", "b"])
    (tmp_path / "train").mkdir()
    with pytest.raises(WorldError, match="no games of train"):
        games_in(tmp_path, ("train",))


def test_other_games_have_another_digest(official):
    folder = data_folder([str(official)])
    before = games_in(folder, ("train",)), games_in(folder, ("valid_unseen",))
    path = before[0].games[0].path
    path.write_text(path.read_text() + " ")
    assert games_in(folder, ("train",)).sha256 != before[0].sha256
    assert games_in(folder, ("valid_unseen",)).sha256 == before[1].sha256 != before[0].sha256


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"task_type": "look_at_obj_in_light", "pddl_params": 3}'])
def test_a_damaged_file_is_named(official, content):
    path = next((official / "json_2.1.1" / "train").glob("*/*/traj_data.json"))
    path.write_text(content)
    with pytest.raises(WorldError, match=r"traj_data.json is no file of an ALFWorld game"):
        games_in(data_folder([str(official)]), ("train",))
