import os
import signal

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("rapidfuzz")

from interlat.environments.protocol import EnvironmentOptions, PlaysItself
from interlat.environments.verification import play, verified
from interlat.environments.webshop.environment import WebShop
from interlat.environments.webshop.visit import REFUSED
from interlat.environments.webshop.world import ShopWorld
from killed_workers import records_despite_kills, workers
from shop_records import write_shop

FEW = EnvironmentOptions(limit=6, workers=2)


@pytest.fixture(scope="module")
def environment():
    made = WebShop(FEW)
    yield made
    made.close()


def test_side_by_side_is_as_one_by_one_and_workers_may_be_killed_at_any_time(environment):
    items, world = environment.items(), ShopWorld(FEW)
    actions = {
        item.id: [f"search[{world.shop.goals[int(item.id[8:])].product.query}]", "click[next >]", "click[< prev]",
                  "nothing", *world.expert(item.id)]
        for item in items
    }  # fmt: skip
    expected = {}
    for item in items:
        visit = world.episode(item.id)
        visit.start()
        expected[item.id] = [visit.step(action) for action in actions[item.id]]
    environment.start(items)
    turns = min(map(len, actions.values()))
    for turn in range(turns):
        if turn in (2, 5):
            os.kill(workers(environment)[turn % 2], signal.SIGKILL)
        seen = environment.step(items, [f"Action: {actions[item.id][turn]}" for item in items])
        for item, outcome in zip(items, seen, strict=True):
            alone = expected[item.id][turn]
            assert outcome.action == actions[item.id][turn]
            assert (outcome.text, outcome.steps, outcome.score) == (alone.text, alone.steps, alone.score)
            assert outcome.facts == alone.facts


def test_the_expert_buys_and_a_random_player_mostly_does_not(environment):
    assert isinstance(environment, PlaysItself)
    found = list(verified(environment, environment.items(), 0))
    assert [one.expert_score for one in found] == [1.0] * 6 and all(one.expert_solved for one in found)
    assert sum(one.random_score for one in found) / 6 < 0.9


def test_a_random_player_names_what_is_on_the_page_and_comes_to_every_page(environment):
    items, shown = environment.items(), []
    policies = {item.id: environment.random_policy(item, 1) for item in items}

    def recorded(item):
        def policy(seen):
            action = policies[item.id](seen)
            shown.append((seen.text, action))
            return action

        return policy

    last = play(environment, items, {item.id: recorded(item) for item in items})
    for text, action in shown:
        name, _, argument = action.rstrip("]").partition("[")
        assert name in ("search", "click") and argument
        assert argument in text.lower() or all(word in text.lower() for word in argument.split())
    assert {action for _, action in shown} >= {"click[buy now]"} and any(one.done for one in last)
    assert any("Page 1 (" in text for text, _ in shown) and any("Price:" in text for text, _ in shown)
    refused = sum(text.startswith(REFUSED) for text, _ in shown)
    assert refused < len(shown) / 3


def test_a_random_player_goes_back_from_a_page_without_products(environment):
    (item,) = environment.items()[:1]
    environment.start([item])
    (empty,) = environment.step([item], ["search[qqqq]"])
    assert "Total results: 0" in empty.text
    assert environment.random_policy(item, 0)(empty) == "click[back to search]"


def test_nouns_that_are_guessed_are_said(tmp_path, capsys):
    environment = WebShop(EnvironmentOptions(data=(str(write_shop(tmp_path)),), workers=1))
    environment.close()
    said = "every word of a title" in capsys.readouterr().err
    assert said is (environment.origin["nouns"] == "words")


def test_a_run_whose_workers_are_killed_loses_and_doubles_no_item(save_model, tmp_path, monkeypatch):
    model = save_model("long", positions=1 << 14)

    records = records_despite_kills(
        monkeypatch, WebShop, tmp_path, sender=str(model), limit=2, channels=("none",), max_new_tokens=3
    )
    assert len(records) == 2 and all(line["steps"] == 15 for line in records)
