import pytest

from interlat.environments.alfworld.prompts import room_and_task
from interlat.environments.protocol import ENVIRONMENTS, EnvironmentOptions
from interlat.environments.verification import verified
from interlat.errors import InputError
from interlat.experiments.household.author import MINI_ROOMS, author_games
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.environment import HouseholdEnvironment
from interlat.experiments.household.episodes import read_episodes


def test_it_is_found_by_its_name_and_plays_its_games(pipeline):
    environment = ENVIRONMENTS["household"](EnvironmentOptions((str(pipeline.episodes),), workers=1))
    assert isinstance(environment, HouseholdEnvironment)
    records = {record["item"]: record for record in read_episodes(pipeline.episodes) if record["episodes"]}
    items = environment.items()
    assert [item.id for item in items] == sorted(records, key=[item.id for item in items].index)
    item = items[0]
    record = records[item.id]
    assert item.question == room_and_task(record["opening"]) and item.notes == record["episodes"][0]["evidence"]
    assert item.max_steps == record["max_steps"] and item.family[0] == record["task_type"]
    try:
        [seen] = environment.start([item])
        assert seen.text == item.question
        commands = [turn[0] for turn in record["episodes"][0]["turns"]]
        for command in ["<think>where?", *commands]:
            [seen] = environment.step([item], [f"Thought: go.\nAction: {command}" if command in commands else command])
            assert seen.action == ("" if "<think>" in command else command)
        assert seen.success and seen.done and seen.score == 1.0 and seen.steps == len(commands) + 1
    finally:
        environment.close()


def test_its_expert_solves_what_the_recorded_search_does_not_and_a_random_player_hardly_anything(tmp_path):
    games, episodes = tmp_path / "games", tmp_path / "episodes.jsonl"
    list(author_games(games, 6, "unseen", 0, MINI_ROOMS))
    list(collect_episodes(CollectEpisodes(str(games), "unseen", str(episodes), draws=1)))
    records = [record for record in read_episodes(episodes) if record["episodes"]]
    assert any(len(record["episodes"][0]["turns"]) > record["max_steps"] for record in records)
    environment = HouseholdEnvironment(EnvironmentOptions((str(episodes),), workers=1))
    try:
        found = list(verified(environment, environment.items(), seed=0))
    finally:
        environment.close()
    assert [one.expert_solved for one in found] == [True] * len(records)
    assert sum(one.random_score for one in found) < len(found) / 2


def test_no_data_and_no_games_are_refused():
    with pytest.raises(InputError, match="data"):
        HouseholdEnvironment(EnvironmentOptions())
    with pytest.raises(InputError, match="no game"):
        HouseholdEnvironment(EnvironmentOptions(), [{"item": "a", "episodes": []}])
