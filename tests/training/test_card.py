import dataclasses
import json
import re
import shutil
from dataclasses import dataclass, field

import pytest
import torch
import transformers
from huggingface_hub import ModelCard

import interlat
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.hf import Engine
from interlat.files import read_lines
from interlat.messages import HiddenMessage
from interlat.training.actor import train_actor
from interlat.training.card import base_model, model_card, settings_of
from interlat.training.options import Schedule, SmallModel
from interlat.training.settings import TrainActor


@pytest.fixture
def run(tmp_path):
    def write(*records):
        lines = [json.dumps({"step": step, "loss": 1.0, **more}) + "\n" for step, more in records]
        (tmp_path / "latent").mkdir(exist_ok=True)
        (tmp_path / "latent" / "metrics.jsonl").write_text("".join(lines))
        return tmp_path / "latent"

    return write


def card(directory, **changes):
    return model_card(
        directory, "interlat train actor", **{"role": "actor", "reads": "text", "settings": {"seed": 0}, **changes}
    )


def validated(loss, **more):
    return {"validation_loss": loss, **more}


def test_the_numbers_are_those_of_the_metrics(run):
    directory = run((1, {}), (2, validated(0.25, validation_loss_of_another_message=0.5)), (3, {}), (4, validated(0.3)))
    text = card(directory)
    assert "# latent" in text
    assert "those of step 4, the last one; 4 steps were taken" in text
    assert "|  | best, step 2 | last, step 4 |" in text
    assert "| validation loss | 0.2500 | 0.3000 |" in text
    assert "| validation loss of another message | 0.5000 |  |" in text
    assert "those of step 2, that of the best validation; 4 steps were taken" in card(directory, kept="best")


def test_nothing_is_claimed_that_was_not_measured(run):
    text = card(run((1, {}), (2, {})))
    assert "The run has no validation." in text and not re.search(r"0\.\d{4}", text)
    text = card(run((1, {}), (2, validated(0.5))))
    assert "best and last, step 2" in text and "another" not in text.split("## Settings")[0]


def test_the_header_is_what_the_hub_reads(run, tmp_path):
    directory = run((1, {}))
    data = ModelCard(card(directory)).data.to_dict()
    assert data == {"library_name": "interlat", "tags": ["interlat", "actor"]}
    (tmp_path / "base" / "model").mkdir(parents=True)
    for start, name in (("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"), (str(tmp_path / "base" / "model"), "base")):
        text = card(directory, start=start)
        assert ModelCard(text).data.base_model == name and f"It began as `{name}`." in text
        assert str(tmp_path) not in text
    assert base_model(str(tmp_path / "base")) == "base"


def test_an_adapter_names_the_sender_that_it_reads(run):
    adapter = AdapterConfig(
        8, 16, 2, sender="scout", sender_fingerprints=("aa", "bb"), layer=-2, state_at="after_token"
    )
    text = card(run((1, {})), reads="hidden", adapter=adapter)
    for line in (
        "| sender | scout |",
        "| fingerprints of its weights | aa, bb |",
        "| layer | -2 (post-norm) |",
        "| state_at | after_token |",
        "| rows | 8 numbers a row, turned into 16 |",
    ):
        assert line in text
    assert "tokenizer" not in text
    longest = dataclasses.replace(adapter, max_rows=40)
    assert "turned into 16; at most 40 |" in card(run((1, {})), reads="hidden", adapter=longest)
    assert "Messages that it reads" not in card(run((1, {})))


def test_versions_and_command(run):
    text = card(run((1, {})))
    for name, version in {
        "interlat": interlat.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }.items():
        assert f"| {name} | {version} |" in text
    assert "\ninterlat train actor --config config.yaml\n" in text


def test_settings_are_those_off_their_defaults_and_the_most_asked_for(run):
    config = TrainActor(
        "out", "e.jsonl", "latent", thoughts=("a", "b|c"), tokenizer="t", device="cpu", schedule=Schedule(patience=3)
    )

    @dataclass(frozen=True)
    class More(TrainActor):
        tracker: str = "none"
        other: SmallModel = field(default_factory=SmallModel)

    shown = settings_of(TrainActor, config)
    assert shown == {
        "episodes": "e.jsonl",
        "message": "latent",
        "thoughts": ("a", "b|c"),
        "tokenizer": "t",
        "schedule.steps": 1000,
        "schedule.batch_size": 32,
        "schedule.learning_rate": 1e-3,
        "schedule.patience": 3,
        "seed": 0,
    }
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    assert settings_of(TrainActor, More(**fields, tracker="wandb")) == shown
    text = card(run((1, {})), settings=shown)
    assert "| thoughts | a, b/c |" in text and "| schedule.learning_rate | 0.001 |" in text


def test_trained_agents_come_with_their_card(pipeline, tmp_path):
    cards = {kind: (folder / "README.md").read_text() for kind, folder in pipeline.actors.items()}
    cards["scout"] = (pipeline.scout / "README.md").read_text()
    adapter = CommunicationAdapter.load(pipeline.actors["latent"]).config
    assert Engine.load(str(pipeline.scout)).weights_fingerprint in cards["latent"]
    assert adapter.sender in cards["latent"] and "hidden states" in cards["latent"]
    assert "| validation place loss |" in cards["scout"] and "interlat train scout" in cards["scout"]
    for kind, text in cards.items():
        records = read_lines((pipeline.scout if kind == "scout" else pipeline.actors[kind]).parent / "metrics.jsonl")
        assert f"| validation loss | {records[-1]['validation_loss']:.4f} |" in text
        another = "validation_loss_of_another_message" in records[-1]
        assert ("validation loss of another message" in text) == another
        assert ModelCard(text).data.library_name == "interlat"


def test_an_export_that_is_made_again_has_the_same_card(pipeline, tmp_path):
    shutil.copytree(pipeline.actors["none"].parent, tmp_path / "none")
    config = TrainActor(
        str(tmp_path / "none"),
        None,
        "none",
        thoughts=(str(pipeline.thoughts),),
        tokenizer=str(pipeline.root / "tokenizer"),
        model=SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16),
        schedule=Schedule(steps=2, batch_size=4),
        adapter_heads=2,
        validation_share=0.2,
    )
    assert list(train_actor(config)) == []
    again = (tmp_path / "none" / "model" / "README.md").read_text()
    assert again == (pipeline.actors["none"] / "README.md").read_text()


@pytest.mark.parametrize("kind", ["none", "text", "latent", "scout"])
def test_the_lines_of_code_run(pipeline, tmp_path, kind, monkeypatch, capsys):
    folder = pipeline.scout if kind == "scout" else pipeline.actors[kind]
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) == 3
    monkeypatch.chdir(tmp_path)
    if kind == "latent":
        written = interlat.load(pipeline.scout).think("...", steps=2)
        assert isinstance(written, HiddenMessage)
        written.save("thought.safetensors")
    exec(code.replace("folder or hub id of this model", str(folder)), {})
    assert capsys.readouterr().out
