import json

import pytest

from counting_world import Counting
from interlat.cli.environments import _about
from interlat.cli.main import main
from interlat.environments.protocol import ENVIRONMENTS


@pytest.fixture(scope="module", autouse=True)
def counting():
    class Hopeless(Counting):
        """Counting with a bad expert."""

        def expert_policy(self, item):
            return lambda seen: "1"

    ENVIRONMENTS.add("counting", Counting)
    ENVIRONMENTS.add("hopeless", Hopeless)
    yield
    for name in ("counting", "hopeless"):
        del ENVIRONMENTS._places[name]


def test_all_environments_are_listed(capsys):
    assert main(["environments", "list", "--json"]) == 0
    listed = {one["name"]: one["about"] for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {"textcraft", "household"} < set(listed) and listed["counting"] == _about(Counting) == "Counting."
    assert main(["environments", "list"]) == 0
    assert "hopeless" in capsys.readouterr().out


def test_items_are_shown_as_a_receiver_reads_them(capsys):
    assert main(["environments", "show", "counting", "--limit", "2", "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("\ncount to ") == 2
    assert main(["environments", "show", "counting", "--split", "odd", "--workers", "1", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["text"] for one in shown] == ["count to 1", "count to 3", "count to 5"]


def test_the_last_line_of_a_verification_has_the_counts(capsys):
    assert main(["environments", "verify", "counting", "--limit", "4", "--json"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["environment"], line["items"], line["expert_solved"], line["expert_score"]) == ("counting", 4, 4, 1.0)
    assert 0 <= line["random_score"] < 1 and line["steps_per_second"] > 0 and line["data"] == "numbers"


def test_an_expert_that_fails_ends_with_1_and_names_the_items(capsys):
    assert main(["environments", "verify", "hopeless", "--json", "--workers", "1"]) == 1
    shown = capsys.readouterr()
    *unsolved, last = map(json.loads, shown.out.splitlines())
    assert [one["item"] for one in unsolved] == [f"count/{n}" for n in range(2, 7)]
    assert (last["items"], last["expert_solved"]) == (6, 1) and "unsolved count/2" in shown.err


@pytest.mark.parametrize(("least", "code"), [("0.16", 0), ("0.17", 1), ("0", 0)])
def test_the_least_share_decides_the_exit_code(least, code, capsys):
    assert main(["environments", "verify", "hopeless", "--least", least, "--workers", "1"]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert all(name in last for name in ("items 6", "expert_solved 1", "random_score", "steps_per_second"))
    assert ("fewer than" in last) == bool(code)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "'nothing'"),
        (["counting", "--limit", "0"], "limit is 0"),
        (["counting", "--least", "1.5"], "least is 1.5"),
        (["counting", "--split", "x"], "split"),
    ],
)
def test_bad_input_is_one_line(words, said, capsys):
    assert main(["environments", "verify", *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
