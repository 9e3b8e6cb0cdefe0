import pytest

pytest.importorskip("bm25s")
pytest.importorskip("rapidfuzz")

from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.webshop.world import MOST_STEPS, ShopWorld
from interlat.errors import InputError
from shop_records import write_shop


@pytest.fixture(scope="module")
def world():
    return ShopWorld(EnvironmentOptions())


def test_items_are_the_shuffled_goals(world):
    items = world.items()
    assert [item.id for item in items[:2]] == ["webshop/0", "webshop/1"] and len(items) == 240
    assert [item.split for item in items] == ["test"] * 120 + ["train"] * 120
    goal = world.shop.goals[0]
    assert (items[0].question, items[0].family) == (f"Instruction: {goal.instruction}", ("buy", goal.product.query))
    assert len({item.task_type for item in items}) == 5 and items[0].facts == {"goal_product": goal.product.id}


def test_the_expert_reaches_the_full_reward_of_every_goal(world):
    missed = []
    for item in world.items():
        visit, actions = world.episode(item.id), world.expert(item.id)
        visit.start()
        outcomes = [visit.step(action) for action in actions]
        assert not any(one.done for one in outcomes[:-1]) and len(actions) <= MOST_STEPS
        assert outcomes[-1].facts["refused_actions"] == 0
        if not (outcomes[-1].done and outcomes[-1].success and outcomes[-1].score == 1):
            missed.append(item.id)
    assert missed == []


def test_the_same_actions_give_the_same_outcomes(world):
    other = ShopWorld(EnvironmentOptions(limit=3))
    actions = ["search[red socks]", "click[next >]", "click[back to search]", "search[teapot lid]", "click[x]"]
    for item in other.items():
        one, two = world.episode(item.id), other.episode(item.id)
        assert one.start() == two.start()
        assert [one.step(action) for action in actions] == [two.step(action) for action in actions]


def test_published_files_are_played_with_their_splits(tmp_path):
    folder = write_shop(tmp_path)
    world = ShopWorld(EnvironmentOptions(data=(str(folder),)))
    assert [item.split for item in world.items()] == ["test", "train"]
    for item in world.items():
        visit = world.episode(item.id)
        visit.start()
        last = [visit.step(action) for action in world.expert(item.id)][-1]
        assert last.success and last.facts["bought"] == item.facts["goal_product"]


def test_a_split_and_a_limit_keep_the_ids():
    items = ShopWorld(EnvironmentOptions(split="train", limit=4)).items()
    assert len(items) == 4 and all(int(item.id.split("/")[1]) >= 120 for item in items)


def test_attributes_are_an_option_that_the_origin_tells():
    shown = ShopWorld(EnvironmentOptions(options={"show_attributes": True}))
    visit = shown.episode("webshop/0")
    product = shown.shop.goals[0].product
    visit.step(f"search[{product.title}]")
    assert "[SEP] Attributes [SEP]" in visit.step(f"click[{product.id}]").text
    assert shown.origin["show_attributes"] is True


@pytest.mark.parametrize(
    ("options", "named"),
    [({"split": "eval"}, "split is 'eval'"), ({"options": {"show": 1}}, "webshop has no option show")],
)
def test_what_is_not_there_is_refused_by_name(options, named):
    with pytest.raises(InputError, match=named):
        ShopWorld(EnvironmentOptions(**options))
