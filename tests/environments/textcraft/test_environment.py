import os
import random
import re
import signal

import pytest

from interlat.environments.protocol import ENVIRONMENTS, EnvironmentOptions, Outcome, PlaysItself
from interlat.environments.textcraft.environment import TextCraft
from interlat.environments.textcraft.world import TextCraftWorld
from interlat.environments.verification import play
from killed_workers import records_despite_kills, workers

BUNDLED = EnvironmentOptions(("bundled",), limit=6, workers=2)


@pytest.fixture(scope="module")
def environment():
    made = ENVIRONMENTS["textcraft"](BUNDLED)
    yield made
    made.close()


def actions_of(environment, item, seed):
    """What the random player does where nothing is answered."""
    policy = environment.random_policy(item, seed)
    return [policy(Outcome("")) for _ in range(20)]


def test_side_by_side_is_as_one_by_one_and_workers_may_be_killed_at_any_time(environment):
    assert isinstance(environment, PlaysItself)
    items = environment.items()
    world = TextCraftWorld(BUNDLED)
    expected = {}
    for item in items:
        episode = world.episode(item.id)
        episode.start()
        expected[item.id] = [episode.step(action) for action in actions_of(environment, item, 0)]
    environment.start(items)
    replies = {item.id: actions_of(environment, item, 0) for item in items}
    for turn in range(20):
        if turn in (5, 11):
            os.kill(workers(environment)[turn % 2], signal.SIGKILL)
        seen = environment.step(items, [f"Action: {replies[item.id][turn]}" for item in items])
        for item, outcome in zip(items, seen, strict=True):
            assert outcome.action == replies[item.id][turn]
            alone = expected[item.id][turn]
            assert (outcome.text, outcome.steps, outcome.facts) == (alone.text, alone.steps, alone.facts)


def test_the_expert_solves_what_is_there(environment):
    items = environment.items()
    played = play(environment, items, {item.id: environment.expert_policy(item) for item in items})
    assert [one.success for one in played] == [True] * len(items)


def test_a_random_player_names_only_what_is_shown():
    world, draw, kinds = TextCraftWorld(EnvironmentOptions(("bundled",))), random.Random(0), set()
    for item in world.items():
        for _ in range(20):
            action = TextCraft.random_action(None, item, Outcome(""), draw)
            names = re.findall(r"\d+ ([a-z ]+?)(?= using|,|$)", action)
            assert names and all(name in world.book.items for name in names), action
            kinds.add(action.split()[0])
    assert kinds == {"get", "craft"}


@pytest.mark.slow
def test_a_run_whose_workers_are_killed_loses_and_doubles_no_item(save_model, tmp_path, monkeypatch):
    model = save_model("long", positions=1 << 14)

    records = records_despite_kills(
        monkeypatch,
        TextCraft,
        tmp_path,
        sender=str(model),
        data=("bundled",),
        limit=2,
        channels=("none", "text"),
        max_plan_tokens=4,
        max_new_tokens=3,
    )
    assert len(records) == 4 and all(line["steps"] == 40 for line in records)
