import json

import pytest

from interlat.cli.main import execute
from interlat.cli.qualify import QUALIFICATION_FILE, Qualify
from interlat.errors import InputError


def config(pair, output, **changes):
    return Qualify(
        **{
            "sender": str(pair["sender"]),
            "output": str(output),
            "receiver": str(pair["words"]),
            "count": 12,
            "max_plan_tokens": 4,
            "max_new_tokens": 3,
            "dtype": "float32",
            "json": True,
            **changes,
        }
    )


def test_a_random_pair_delivers_but_says_nothing(pair, tmp_path, capsys):
    assert execute(config(pair, tmp_path)) == 1
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == json.loads((tmp_path / QUALIFICATION_FILE).read_text())
    found = {check["name"]: check["found"] for check in printed}
    assert found["rows arrive as they were sent"] == "yes", "a random model answers embeddings as it does words"
    assert found["the receiver answers from its own words"] == "no"
    before = {path: path.read_bytes() for path in tmp_path.glob("*/results.jsonl")}
    assert len(before) == 2
    execute(config(pair, tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.glob("*/results.jsonl")} == before, "nothing is played again"


def test_what_cannot_tell_is_refused_before_anything_is_played(pair, tmp_path):
    with pytest.raises(InputError, match="count is 11"):
        config(pair, tmp_path, count=11)
    with pytest.raises(InputError, match="connector is 'identity', which stays within one model"):
        config(pair, tmp_path, connector="identity").run()
    assert not list(tmp_path.iterdir())


def test_one_model_is_one_evaluation(pair, tmp_path):
    assert list(config(pair, tmp_path, receiver="").evaluations) == ["self"]
    assert list(config(pair, tmp_path).evaluations) == ["self", "pair"]


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_a_model_behind_a_server_cannot_be_qualified(side):
    with pytest.raises(InputError, match="openai:x runs behind a server, which gives words only"):
        Qualify(**{"sender": "a", "receiver": "b", side: "openai:x"}, output="anywhere")
