import io
import json
import os
import subprocess
import sys

from interlat.environments.alfworld.worker import serve


def answers(requests, games_kept=2):
    lines = "".join(json.dumps(group) + "\n" for group in requests)
    return [json.loads(answer) for answer in serve(io.StringIO(lines), games_kept)]


def test_answers_come_in_the_order_of_the_requests(small_games):
    first, second = map(str, small_games["train"][:2])
    given = answers([[["reset", first], ["reset", second]], [["step", first, "look"], ["layout", second]]])
    assert [answer.get("steps") for answer in given] == [0, 0, 1, None]
    assert given[3]["task_type"] == small_games["train"][1].parts[-3].split("-")[0]


def test_the_game_played_longest_ago_makes_room(small_games):
    first, second, third = map(str, small_games["train"][:3])
    starts = [["reset", first], ["reset", second], ["step", first, "look"], ["reset", third]]
    given = answers([[*starts, ["step", first, "look"], ["step", second, "look"]]])
    assert given[4]["steps"] == 2
    assert "games_kept" in given[5]["error"]


def test_an_unknown_request_is_answered(small_games):
    assert "does not know" in answers([[["dance", str(small_games["train"][0])]]])[0]["error"]


def test_needs_no_torch():
    program = (
        "import sys, interlat.environments.alfworld.worker\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
