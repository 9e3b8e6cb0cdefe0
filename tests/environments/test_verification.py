import pytest

from counting_world import Counting
from interlat.environments.protocol import EnvironmentOptions, Outcome
from interlat.environments.question import QuestionEnvironment
from interlat.environments.verification import play, score, verified
from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet


def test_each_item_is_played_by_both_players_to_its_end():
    environment = Counting(EnvironmentOptions(workers=2))
    try:
        items = environment.items()
        found = list(verified(environment, items, seed=0))
        for item, one in zip(items, found, strict=True):
            [drawn] = play(environment, [item], {item.id: environment.random_policy(item, 0)})
            assert (one.item, one.expert_solved, one.expert_score) == (item.id, True, 1.0)
            assert one.random_score == score(drawn) and one.steps == int(item.id.split("/")[1]) + drawn.steps
            assert drawn.success or drawn.steps == item.max_steps
        assert sum(one.random_score for one in found) < len(found)
        # An expert that gives up is seen.
        environment.expert_policy = lambda item: lambda seen: "1"
        assert [one.expert_solved for one in verified(environment, items, seed=0)] == [True] + [False] * 5
    finally:
        environment.close()


def test_an_environment_without_players_is_refused():
    task = Task(id="a", text="1 + 1?", answer="2")
    with pytest.raises(InputError, match="expert_policy"):
        next(verified(QuestionEnvironment("mine", TaskSet((task,), {})), [], seed=0))


def test_success_is_a_score_where_there_is_no_finer_one():
    assert (score(Outcome("", success=True)), score(Outcome("")), score(Outcome("", score=0.25))) == (1.0, 0.0, 0.25)
