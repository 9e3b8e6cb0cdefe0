import dataclasses

import pytest

from interlat.environments.alfworld.expert import optimal_steps
from interlat.errors import InputError, WorldError
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.episodes import layout_of, read_episodes


@pytest.fixture
def config(pipeline, tmp_path):
    return CollectEpisodes(str(pipeline.root / "games"), "train", str(tmp_path / "again.jsonl"), draws=2)


def test_experts_win_and_their_caps_are_the_optimum_plus_patience(pipeline):
    for record in read_episodes(pipeline.episodes):
        assert record["max_steps"] == record["optimal_steps"] + 3
        assert record["optimal_steps"] == optimal_steps(layout_of(record))
        for episode in record["episodes"]:
            assert any(imitated for _, _, imitated in episode["turns"])
            assert "You won" in episode["turns"][-1][1] or len(episode["turns"]) < record["max_steps"] + 15


def test_resumed_and_differently_sharded_runs_give_the_same_records(config, pipeline):
    list(collect_episodes(dataclasses.replace(config, limit=3, workers=1)))
    assert next(collect_episodes(config)) == (3, 8)
    list(collect_episodes(config))
    assert read_episodes(config.output) == read_episodes(pipeline.episodes)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"draws": 1}, "episodes"),
        ({"patience": 4}, "max_steps"),
        ({"seed": 1}, "episodes"),
        ({"play": False}, "episodes"),
    ],
)
def test_episodes_of_other_settings_are_not_mixed_in(config, changes, name):
    list(collect_episodes(dataclasses.replace(config, limit=1, workers=1)))
    with pytest.raises(InputError, match=f"with other .*{name}.* than these settings give"):
        list(collect_episodes(dataclasses.replace(config, **changes)))


def test_stumbles_are_not_imitated(pipeline, config):
    often = dataclasses.replace(config, stumble=0.6, limit=3)
    list(collect_episodes(often))
    turns = [turn for r in read_episodes(config.output) for e in r["episodes"] for turn in e["turns"]]
    assert any(not imitated for _, _, imitated in turns)
    assert any(text == "Nothing happens." for _, text, imitated in turns if not imitated)
    assert all(text != "Nothing happens." for _, text, imitated in turns if imitated)


def test_bad_settings_and_missing_games(config, tmp_path):
    with pytest.raises(InputError, match="draws"):
        dataclasses.replace(config, draws=0)
    with pytest.raises(WorldError, match="worlds make alfworld"):
        list(collect_episodes(dataclasses.replace(config, games=str(tmp_path))))
