import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from interlat.cli import main as cli
from interlat.cli.main import execute, parse
from interlat.cli.train import ImportCheckpoint, TrainActorCommand, TrainPreferenceCommand, TrainTokenizer
from interlat.config import write_config
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import CheckpointError, InputError
from interlat.experiments.lessons import CollectLessons, collect_lessons
from interlat.files import append_line, read_lines
from interlat.store.reading import LatentStore
from interlat.training.options import Schedule, SmallModel
from interlat.training.trajectories import TRAJECTORIES_FILE, Trajectory

SHAPE = SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16)


@pytest.fixture
def actor(pipeline, tmp_path):
    return TrainActorCommand(
        str(tmp_path / "actor"),
        None,
        "none",
        thoughts=(str(pipeline.thoughts),),
        tokenizer=str(pipeline.root / "tokenizer"),
        model=SHAPE,
        schedule=Schedule(steps=2, batch_size=4),
        validation_share=0.2,
    )


def test_a_training_leaves_its_configuration_its_picture_and_its_card(actor, tmp_path, capsys):
    execute(actor)
    output = capsys.readouterr()
    folder = tmp_path / "actor"
    assert output.out == "" and f"actor (none) in {folder / 'model'}, its losses in {folder / 'loss.png'}" in output.err
    assert "validation_loss" in output.err
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "metrics.jsonl", "loss.png", "loss.svg", "model"}
    assert (folder / "model" / "README.md").exists()
    again = parse(TrainActorCommand, ["--config", str(folder / "config.yaml")])
    assert again == actor
    before = (folder / "model" / "README.md").read_text()
    execute(again)
    assert (folder / "model" / "README.md").read_text() == before


def test_preferences_say_their_pairs_first_and_leave_an_actor(pipeline, tmp_path, capsys):
    store = LatentStore.open(pipeline.thoughts)
    for thought in store.ids:
        record, identity = store.entry(thought).metadata["record"], store.manifest.fingerprint
        for won in (True, False):
            turns = ((f"go to shelf {int(won)}", "You see nothing."),)
            one = Trajectory(thought, int(won), record["item"], won, 1, 9, turns, 0, "a", identity, {})
            append_line(tmp_path / TRAJECTORIES_FILE, one.record)
    words = ["--start", str(pipeline.actors["latent"]), "--thoughts", str(pipeline.thoughts)]
    words += ["--trajectories", str(tmp_path), "--output", str(tmp_path / "out"), "--schedule.steps", "2"]
    config = parse(TrainPreferenceCommand, [*words, "--schedule.batch-size", "2"])
    assert config.schedule.learning_rate == 1e-5
    execute(config)
    told = capsys.readouterr().err
    count = len(store)
    assert told.startswith(f"{2 * count} trajectories with {count} thoughts, {count} won; {count} pairs with")
    assert "validation_accuracy" in told and f"actor (preference) in {tmp_path / 'out' / 'model'}" in told
    again = parse(TrainPreferenceCommand, ["--config", str(tmp_path / "out" / "config.yaml")])
    assert again == config and (tmp_path / "out" / "model" / "adapter.safetensors").exists()


def test_a_missing_tracker_is_said_before_anything_is_trained(actor, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    write_config(dataclasses.replace(actor, tracker="wandb"), tmp_path)
    assert cli.main(["train", "actor", "--config", str(tmp_path / "config.yaml")]) == 2
    assert "pip install wandb" in capsys.readouterr().err
    assert not (tmp_path / "actor").exists()


def test_a_refused_training_leaves_no_trace(actor, pipeline, tmp_path, capsys):
    """Found only when the data is read: a store without episodes."""
    refused = dataclasses.replace(actor, thoughts=(str(tmp_path / "nothing"),))
    write_config(refused, tmp_path)
    assert cli.main(["train", "actor", "--config", str(tmp_path / "config.yaml")]) == 2
    assert "is no latent store" in capsys.readouterr().err
    assert not (tmp_path / "actor").exists()


def test_a_finished_training_with_other_settings_is_refused_and_keeps_all_it_has(actor, tmp_path, capsys):
    """It took no step, exported the old weights anew under the new settings, and wrote a card of a run never made."""
    output = Path(actor.output)
    write_config(actor, tmp_path)
    words = ["train", "actor", "--config", str(tmp_path / "config.yaml")]
    assert cli.main(words) == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in output.rglob("*") if path.is_file()}
    capsys.readouterr()
    for flags, name in (
        (["--message", "text"], 'message was "none" and is now "text"'),
        (["--seed", "5"], "seed was 0 and is now 5"),
        (["--schedule.batch-size", "3"], "schedule.batch_size was"),
    ):
        assert cli.main([*words, *flags]) == 2
        error = capsys.readouterr().err
        assert name in error and error.count("\n") == 1
    assert cli.main(words) == 0
    assert "ended before" in capsys.readouterr().err
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in output.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_training_that_was_killed_twenty_times_ends_as_if_it_had_not_been(pipeline, tmp_path):
    """Parameters, moments, best parameters, the exported agent and the metrics, bit for bit."""
    script = [sys.executable, str(Path(__file__).parents[1] / "kill_rounds.py"), "--kills", "20", "--folder"]
    words = ["--episodes", str(pipeline.episodes), "--thoughts", str(pipeline.thoughts), "--message", "latent"]
    words += ["--tokenizer", str(pipeline.root / "tokenizer"), "--model.hidden-size", "16", "--model.layers", "1"]
    words += ["--model.heads", "2", "--adapter-heads", "2", "--validation-share", "0.2", "--schedule.steps", "60"]
    words += ["--schedule.batch-size", "4", "--schedule.checkpoint-every", "3", "--schedule.eval-every", "6"]
    command = [sys.executable, "-m", "interlat.cli", "train", "actor", *words, "--output", "{output}"]
    same = ["--same", "*.safetensors", "model/*.safetensors", "model/*.json", "--lines", "metrics.jsonl:step"]
    done = subprocess.run([*script, str(tmp_path), *same, "--", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"kills": 20, "differences": [], "leftovers": []}


@pytest.fixture(scope="module")
def trained(pipeline, tmp_path_factory):
    """A sender trained by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("commands")
    config = {
        "receiver": str(pipeline.actors["latent"]),
        "thoughts": str(pipeline.thoughts),
        "sender": str(pipeline.scout),
        "output": str(folder / "short"),
        "latent_steps": [1, 2],
        "schedule": {"steps": 2, "batch_size": 4, "warmup_steps": 1},
    }
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["compress", "--config", str(folder / "short.yaml"), "--schedule.eval-every", "1"]) == 0
    return folder / "short"


def test_a_compression_leaves_its_configuration_its_picture_and_its_card(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "loss.png", "loss.svg", "model"} <= names
    lines = read_lines(trained / "metrics.jsonl")
    assert {"validation_loss", "validation_loss_1", "validation_loss_2", "task", "distillation"} <= lines[0].keys()
    card = (trained / "model" / "README.md").read_text()
    assert "messages of 1, 2 rows" in card and "agent.think(" in card
    assert not list(trained.rglob("*adapter*"))


def test_a_tokenizer_is_trained_on_episodes_or_on_conversations(pipeline, tmp_path):
    lessons = tmp_path / "lessons.jsonl"
    list(collect_lessons(CollectLessons(str(lessons), count=20)))
    execute(TrainTokenizer(str(tmp_path / "words"), conversations=str(lessons), vocabulary_size=500))
    tokenizer = load_tokenizer(str(tmp_path / "words"))
    assert len(tokenizer.tokenize(" together and colleagues")) == 3
    for given in ({}, {"episodes": str(pipeline.episodes), "conversations": str(lessons)}):
        with pytest.raises(InputError, match="give one of the two files"):
            execute(TrainTokenizer(str(tmp_path / "none"), **given))


def test_the_tokenizer_is_the_same_every_time(pipeline, tmp_path):
    for name in ("one", "two"):
        execute(TrainTokenizer(str(tmp_path / name), str(pipeline.episodes)))
    one, two = ((tmp_path / name / "tokenizer.json").read_text() for name in ("one", "two"))
    assert one == two


def test_a_tokenizer_replaces_nothing_but_a_tokenizer(pipeline, tmp_path):
    config = TrainTokenizer(str(tmp_path), str(pipeline.episodes))
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files than a tokenizer \(thesis.tex\)"):
        execute(config)
    assert os.listdir(tmp_path) == ["thesis.tex"]


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
