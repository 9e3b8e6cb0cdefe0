import json

from interlat.cli.main import execute
from interlat.cli.qualify import QUALIFICATION_FILE, Qualify


def config(pair, output, **changes):
    return Qualify(
        **{
            "sender": str(pair["sender"]),
            "output": str(output),
            "receiver": str(pair["words"]),
            "count": 3,
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


def test_one_model_is_one_evaluation(pair, tmp_path):
    assert list(config(pair, tmp_path, receiver="").evaluations) == ["self"]
    assert list(config(pair, tmp_path).evaluations) == ["self", "pair"]
