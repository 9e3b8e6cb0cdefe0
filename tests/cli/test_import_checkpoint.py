import json

import pytest

from interlat.cli.import_checkpoint import ImportCheckpoint
from interlat.cli.main import execute, parse
from interlat.errors import CheckpointError, InputError

UNRELIABLE = ["the [state_at] is what you said", "a sentence " + 40 * "that is long " + "ends"]


def command(*words):
    return parse(ImportCheckpoint, list(words))


@pytest.fixture
def calls(monkeypatch):
    made = []

    def import_checkpoint(*arguments, **options):
        made.append((arguments, options))
        return UNRELIABLE

    monkeypatch.setattr("interlat.training.published.import_checkpoint", import_checkpoint)
    return made


def test_the_source_is_the_first_word(tmp_path):
    words = ("run/checkpoint-9", "--output", "actor", "--state-at", "after_token")
    assert command(*words) == ImportCheckpoint("run/checkpoint-9", "actor", "after_token")
    assert command(*words, "--base", "some/model", "--json") == ImportCheckpoint(
        "run/checkpoint-9", "actor", "after_token", "some/model", json=True
    )
    (tmp_path / "import.yaml").write_text("source: a\noutput: b\nstate_at: before_token\n")
    assert command("--config", str(tmp_path / "import.yaml")) == ImportCheckpoint("a", "b", "before_token")


@pytest.mark.parametrize(
    "words",
    [
        ["a", "--output", "b"],
        ["a", "--state-at", "after_token"],
        ["--output", "b", "--state-at", "after_token"],
        ["a", "--output", "b", "--state-at", "none"],
    ],
)
def test_source_output_and_state_at_have_to_be_given(words):
    with pytest.raises(InputError):
        command(*words)


def test_what_is_unreliable_is_said_a_line_each(calls, capsys):
    assert execute(ImportCheckpoint("a", "b", "after_token", "some/model")) == 0
    assert calls == [(("a", "b", "after_token"), {"base": "some/model"})]
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [*(f"unreliable: {sentence}" for sentence in UNRELIABLE), "actor in b"]


def test_json_is_one_object(calls, capsys):
    assert execute(ImportCheckpoint("a", "b", "before_token", json=True)) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {"output": "b", "unreliable": UNRELIABLE} and output.out.count("\n") == 1
    assert output.err.count("unreliable: ") == 2


def test_a_folder_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        execute(ImportCheckpoint(str(tmp_path), str(tmp_path / "actor"), "before_token"))
    assert not (tmp_path / "actor").exists()
