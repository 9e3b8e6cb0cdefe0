import io
import json

import pytest

import interlat.environments.worker as worker
from counting_world import CountingWorld
from interlat.environments.protocol import EnvironmentOptions
from interlat.environments.worker import Answers, serve
from interlat.errors import InputError, WorldError


def answers_to(*requests, **options):
    lines = io.StringIO("".join(json.dumps(one) + "\n" for one in requests))
    return [json.loads(line) for line in serve(lambda: CountingWorld(EnvironmentOptions(options=options)), lines)]


def test_requests_are_answered_in_order_and_errors_end_nothing():
    ready, refused, expert, played = answers_to(
        ["play", "count/2", ["raise"]], ["expert", "count/2"], ["play", "count/2", ["1", "2"]]
    )
    assert ready == {"answer": "ready"} and expert == {"answer": ["1", "2"]}
    assert refused == {"error": "action is raise, expected a number", "kind": "InputError"}
    assert (played["answer"]["success"], played["answer"]["steps"]) == (True, 2)


def test_a_world_that_cannot_be_made_is_one_answer():
    (only,) = answers_to(["items"], refuse=True)
    assert only["kind"] == InputError.__name__


def test_an_episode_goes_on_or_is_played_again_to_the_same_outcome(monkeypatch):
    monkeypatch.setattr(worker, "EPISODES_KEPT", 1)
    answers = Answers(CountingWorld(EnvironmentOptions()))
    for actions in ([], ["1"], ["1", "2"], ["1"], [], ["1", "2", "3"]):
        fresh = Answers(CountingWorld(EnvironmentOptions())).answer(["play", "count/3", actions])
        assert answers.answer(["play", "count/3", actions]) == fresh and fresh["steps"] == len(actions)
        answers.answer(["play", "count/4", []])


def test_an_unknown_request_is_refused():
    with pytest.raises(WorldError, match="dance"):
        Answers(CountingWorld(EnvironmentOptions())).answer(["dance"])


def test_a_random_player_is_asked_of_a_world_that_has_one():
    class Drawing(CountingWorld):
        def random(self, item, seed):
            return [item, str(seed)]

    request = ["random", "count/2", 7]
    assert Answers(Drawing(EnvironmentOptions())).answer(request) == ["count/2", "7"]
    with pytest.raises(WorldError, match="random"):
        Answers(CountingWorld(EnvironmentOptions())).answer(request)
