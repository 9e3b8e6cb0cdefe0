import shutil

import pytest

import interlat
from interlat.cli.main import main, parse
from interlat.cli.share import Pull, Push

NAME = "somebody/actor"


@pytest.fixture
def agent(tmp_path):
    return shutil.copytree(interlat.bundled("alfworld-mini/none"), tmp_path / "none")


def test_words_and_fields():
    assert parse(Push, ["a", "--repo", "x/y"]) == Push("a", "x/y", private=True)
    given = [
        "a",
        "--repo",
        "x/y",
        "--no-private",
        "--results",
        "r",
        "--license",
        "mit",
        "--revision",
        "v",
        "--replace-card",
    ]
    assert parse(Push, given) == Push("a", "x/y", "r", "mit", False, "v", True)
    assert parse(Push, ["a", "--repo", "x/y", "--private"]).private
    assert parse(Pull, ["x/y", "--output", "a", "--revision", "v", "--kind", "store"]) == Pull("x/y", "a", "v", "store")


def test_a_push_prints_its_address_and_a_pull_says_how_to_use_it(hub_server, agent, tmp_path, capsys):
    (agent / "notes.txt").write_text("mine")
    assert main(["push", str(agent), "--repo", NAME]) == 0
    output = capsys.readouterr()
    assert output.out == f"{hub_server.url}/{NAME}/commit/{hub_server.model(NAME).branches['main']}\n"
    assert "agent in a private repository; a card was written" in output.err
    assert "left out, since no agent needs them: notes.txt" in output.err
    back = str(tmp_path / "back")
    assert main(["pull", NAME, "--output", back]) == 0
    output = capsys.readouterr()
    assert (
        f"agent {NAME} at " in output.err and f"is in {back}" in output.err and "use it: interlat.load(" in output.err
    )
    assert main(["pull", NAME, "--output", back]) == 0
    assert "was there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["push", "{tmp}", "--repo", NAME],
        ["push", "{tmp}/none", "--repo", "name"],
        ["push", "{tmp}/nothing", "--repo", NAME],
        ["push", "{tmp}/none", "--repo", "other/name"],
        ["push", "{tmp}/none", "--repo", NAME, "--results", "{tmp}"],
        ["push", "{tmp}/none"],
        ["pull", "somebody/nothing", "--output", "{tmp}/back"],
        ["pull", NAME],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_exit_code_2(hub_server, agent, tmp_path, capsys, words):
    assert main([word.format(tmp=tmp_path) for word in words]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("error: ") and output.err.count("\n") == 1
