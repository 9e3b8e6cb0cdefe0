import json

import pytest

from interlat.environments.alfworld.game import AlfworldGame
from interlat.errors import InputError
from interlat.experiments.household.episodes import (
    describe,
    direct_episode,
    evidence_of,
    layout_of,
    of_draw,
    playable_episodes,
    read_episodes,
    some_of,
    texts_of,
)


def test_evidence_survives_storing(pipeline):
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            evidence = evidence_of(episode)
            assert evidence.text() == episode["evidence"]
            again = describe(layout_of(record), evidence)
            assert [again[name] for name in ("plan", "list")] == [episode[name] for name in ("plan", "list")]


def test_plain_evidence_survives_storing_too(pipeline):
    searched = 0
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            evidence = evidence_of(episode)
            plain = {**episode, **describe(layout_of(record), evidence, "plain")}
            assert plain["evidence"] != episode["evidence"]
            assert evidence_of(plain) == evidence
            searched += len(evidence.searched)
    assert searched


def test_plans_name_the_true_places_and_lists_all_of_them(pipeline):
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            for belief in episode["beliefs"]:
                assert belief["true_place"] in episode["plan"]
                assert ", ".join(belief["places"]) in episode["list"]


def test_texts_hold_everything_that_a_model_reads_or_writes(pipeline):
    records = read_episodes(pipeline.episodes)
    texts = set(texts_of(records))
    episode = next(r for r in records if r["episodes"])["episodes"][0]
    assert {episode["evidence"], episode["plan"], episode["list"], episode["turns"][0][0]} <= texts


def test_direct_episodes_are_what_the_game_prints_to_somebody_who_knows(pipeline):
    """Played in the game itself: the same texts, and a win with the last command and not before."""
    game, shortened = AlfworldGame(), 0
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            direct = direct_episode(episode)
            if direct is None:
                continue
            assert direct["direct"] and "direct" not in episode
            shortened += len(direct["turns"]) < len(episode["turns"])
            game.load(record["game"])
            game.reset()
            for number, (command, text, _) in enumerate(direct["turns"], 1):
                observation = game.step(command)
                assert observation.text == text
                if "You won" in episode["turns"][-1][1]:
                    assert observation.won == (number == len(direct["turns"]))
    assert shortened
    game.close()


def test_who_stumbles_or_comes_back_has_no_direct_episode():
    visit = [["go to shelf 1", "nothing.", True], ["go to bed 1", "a mug.", True], ["take mug 1", "ok", True]]
    assert direct_episode({"turns": visit})["turns"] == visit[1:]
    assert direct_episode({"turns": [["go to bed 1", "a mug.", False], *visit]}) is None
    assert direct_episode({"turns": [*visit, ["go to shelf 1", "nothing.", True], ["put mug 1", "ok", True]]}) is None


def test_some_games_are_of_all_types_and_always_the_same():
    records = [{"item": f"{kind}-{number}"} for kind in "abcdef" for number in range(20)]
    chosen = some_of(records, 60)
    assert chosen == some_of(records, 60) and len({r["item"] for r in chosen}) == 60
    assert all(4 <= sum(r["item"].startswith(kind) for r in chosen) <= 16 for kind in "abcdef")
    assert some_of(records, None) == some_of(records, 500) == records


def test_playable_games_have_a_sender_that_knows_something(tmp_path):
    records = [{"item": f"{number:02}", "episodes": [{}] * (number % 3)} for number in range(30)]
    for name in ("one", "two"):
        lines = (json.dumps(record | {"file": name}) for record in records)
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    paths = [tmp_path / "one", tmp_path / "two"]
    everything = playable_episodes(paths)
    assert [(r["file"], r["item"]) for r in everything] == [
        (name, r["item"]) for name in ("one", "two") for r in records if r["episodes"]
    ]
    some = playable_episodes(paths, 5)
    assert [r["file"] for r in some] == ["one"] * 5 + ["two"] * 5
    assert all(record in everything for record in some)


def test_no_episodes_is_an_error(tmp_path):
    with pytest.raises(InputError, match="interlat collect"):
        read_episodes(tmp_path / "none.jsonl")


def test_a_draw_is_the_only_episode_that_is_left(pipeline):
    records = [record for record in read_episodes(pipeline.episodes) if record["episodes"]]
    chosen = of_draw(records, 1)
    assert [r["item"] for r in chosen] == [r["item"] for r in records]
    assert [r["episodes"] for r in chosen] == [[r["episodes"][1]] for r in records]
    with pytest.raises(InputError, match="no draw 2"):
        of_draw(records, 2)
