import json
import shutil

import pytest

from interlat.environments.alfworld.world import STEPS, AlfworldWorld
from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.world import PlaysAtRandom
from interlat.errors import InputError, WorldError
from interlat.experiments.household.author import AuthorOptions, author_games
from interlat.tasks.conversations import TASK_TYPES


def world(root, *, split="", limit=None, **options):
    return AlfworldWorld(EnvironmentOptions(data=(str(root),), split=split, limit=limit, options=options))


def played(made, item, actions):
    episode = made.episode(item)
    return [episode.start(), *(episode.step(action) for action in actions)]


@pytest.fixture(scope="module")
def root(small_games):
    return small_games["train"][0].parents[4]


@pytest.fixture(scope="module")
def made(root):
    return world(root)


@pytest.fixture
def legacy(tmp_path):
    """A game with the texts of the official files, and its folder."""
    options = AuthorOptions(maximum_receptacles=12, density=0.2, legacy_text=True)
    (path,) = author_games(tmp_path, 1, "seen", 0, options)
    return tmp_path, path


def test_every_game_is_an_item_with_its_official_split(made):
    items = made.items()
    assert [item.split for item in items] == ["train"] * 6 + ["valid_unseen"] * 6
    assert {item.task_type for item in items} == set(TASK_TYPES)
    one = items[0]
    assert one.id.startswith(f"train/{one.task_type}-") and "/trial_" in one.id and one.max_steps == STEPS == 20
    assert one.question.startswith("You are in the middle of a room.") and "\nYour task is to: " in one.question
    assert one.family == (one.task_type, one.id.split("/")[1].split("-")[1])


def test_some_items_are_chosen_and_only_those_are_loaded(root):
    chosen = world(root, split="eval_out_of_distribution", limit=2)
    assert [item.split for item in chosen.items()] == ["valid_unseen"] * 2
    assert len(chosen._games._games) == 2
    every = {item.id for item in world(root, split="valid_unseen").items()}
    assert {item.id for item in chosen.items()} < every
    typed = world(root, task_types="2, pick_two_obj_and_place").items()
    assert {item.task_type for item in typed} == {TASK_TYPES[1], TASK_TYPES[5]}
    assert [item.task_type for item in world(root, task_types=1).items()] == [TASK_TYPES[0]] * 2


def test_the_origin_does_not_change_with_how_many_are_played(root, made):
    assert world(root, limit=3).origin == made.origin
    assert made.origin["games"] == 12 and made.origin["skipped"] == {}
    assert world(root, steps=50).origin != made.origin != world(root, prompt="plan").origin


@pytest.mark.parametrize("number", range(12))
def test_the_expert_wins_every_game_within_the_published_limit(made, number):
    item = made.items()[number]
    *before, last = played(made, item.id, made.expert(item.id))
    assert last.success and last.done and last.score == 1 and last.steps <= item.max_steps
    assert not any(outcome.success or outcome.done for outcome in before)
    assert last.facts == {"refused_actions": 0}


def test_success_is_what_the_engine_calls_won_and_never_the_end_of_the_steps(made):
    item = made.items()[0]
    outcomes = played(made, item.id, ["look"] * item.max_steps)
    assert outcomes[-1].steps == item.max_steps and not outcomes[-1].success and not outcomes[-1].done
    assert outcomes[-1].score == 0


def test_a_command_that_changes_nothing_costs_a_step_and_is_counted(made):
    item = made.items()[0]
    place = item.question.split("you see a ")[1].split(",")[0]
    outcomes = played(made, item.id, ["", "fly to the moon", f"  Go to  {place.upper()}. "])
    assert [outcome.steps for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.facts.get("refused_actions") for outcome in outcomes] == [None, 1, 2, 2]
    assert outcomes[2].text == "Observation: Nothing happens."
    assert outcomes[3].text.startswith(f"Observation: You arrive at {place}.")


def test_the_prompt_has_the_words_of_the_game_and_commands_only_if_asked(root, made, legacy):
    item = made.items()[0]
    [seen] = played(made, item.id, [])
    assert seen.text.endswith(item.question) and "\nmove THING to PLACE\n" in seen.text and "You can:" not in seen.text
    plain = world(root, prompt="task")
    assert played(plain, item.id, [])[0].text == item.question
    told = played(world(root, admissible=True), item.id, ["look"])
    assert all("\nYou can: " in outcome.text and "look" in outcome.text for outcome in told)
    folder, _ = legacy
    old = world(folder)
    [game] = old.items()
    opening, *_, last = played(old, game.id, old.expert(game.id))
    assert "\nput THING in/on PLACE\n" in opening.text and last.success
    assert "loc " not in "".join(outcome.text for outcome in played(old, game.id, old.expert(game.id)))


def test_the_walkthrough_of_a_game_file_is_taken_where_it_wins(legacy):
    folder, path = legacy
    made = world(folder)
    [item] = made.items()
    best = made.expert(item.id)
    game = json.loads(path.read_text())
    for walkthrough, expected in (
        (["look", *best], ["look", *best]),
        (["look", "look"], best),
        (["look"] * 20 + list(best), best),
        ([*best, "look"], best),
    ):
        path.write_text(json.dumps({**game, "walkthrough": walkthrough}))
        assert world(folder).expert(item.id) == expected


def test_the_random_player_draws_from_what_the_game_accepts(made):
    assert isinstance(made, PlaysAtRandom)
    item = made.items()[0].id
    actions = made.random(item, 0)
    assert actions == made.random(item, 0) != made.random(item, 1) and len(actions) == STEPS
    assert played(made, item, actions)[-1].facts["refused_actions"] <= 1


def test_episodes_go_on_beside_the_experts_play(root):
    crowded = world(root, games_kept=1)
    one, two = [item.id for item in crowded.items()[:2]]
    actions = crowded.expert(one)
    episode, other = crowded.episode(one), crowded.episode(two)
    episode.start(), other.start()
    for number, action in enumerate(actions):
        crowded.random(one, number)
        other.step("look")
        last = episode.step(action)
    assert last.success and last.steps == len(actions)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prompt": "poem"}, "prompt is 'poem'.*react, plan, task"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"admissible": 1}, "admissible is 1"),
        ({"task_types": "7"}, "task_types is '7'"),
        ({"step": 3}, "alfworld has no option step"),
    ],
)
def test_what_makes_no_sense_is_refused(root, options, named):
    with pytest.raises(InputError, match=named):
        world(root, **options)


@pytest.mark.parametrize("item", ["train", "train/nothing/trial_T0", "../x/y/z"])
def test_an_unknown_game_is_named(made, item):
    with pytest.raises(WorldError, match=item):
        made.episode(item)


def test_a_game_that_is_no_game_is_named(root, tmp_path):
    shutil.copytree(root, tmp_path / "games")
    path = next((tmp_path / "games").rglob("train/*/*/game.tw-pddl"))
    path.write_text('{"solvable": true}')
    with pytest.raises(WorldError, match=r"game.tw-pddl is not a playable"):
        world(tmp_path / "games", split="train").items()


def test_the_instruction_of_training_stands_in_front_of_the_task_as_training_writes_it(root, tmp_path):
    turns = ["Do chores.", "OK", "the task", "Action: look"]
    path = tmp_path / "lessons.json"

    def write(*firsts):
        speakers = ("human", "gpt", "human", "gpt")
        path.write_text(
            json.dumps(
                [
                    {
                        "id": str(number),
                        "conversations": [
                            {"from": speaker, "value": value}
                            for speaker, value in zip(speakers, [first, *turns[1:]], strict=True)
                        ],
                    }
                    for number, first in enumerate(firsts)
                ]
            )
        )

    write("Do chores.", "Do chores.")
    taught = world(root, prompt="task", instruction=str(path))
    item = taught.items()[0]
    assert played(taught, item.id, [])[0].text == f"Do chores.\n{item.question}"
    assert taught.origin["instruction"] == "Do chores."
    write("Do chores.", "Do other chores.")
    with pytest.raises(InputError, match=r"lessons.json.*2 ways"):
        world(root, prompt="task", instruction=str(path))
    with pytest.raises(InputError, match="prompt is react"):
        world(root, instruction=str(path))
