"""The commands about short messages, from configuration files to what they leave."""

import json

import pytest
import yaml

from interlat.cli.main import main
from interlat.files import read_lines


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
    assert main(["compress", "--config", str(folder / "short.yaml"), "--schedule.eval-every", "1"]) == 0
    return folder / "short"


def checkpoints(pipeline, trained):
    folders = {"scout": pipeline.scout, **pipeline.actors, "compressed": trained / "model"}
    return {role: str(folder) for role, folder in folders.items()}


def test_a_compression_leaves_its_configuration_its_picture_and_its_card(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "loss.png", "loss.svg", "model"} <= names
    lines = read_lines(trained / "metrics.jsonl")
    assert {"validation_loss", "validation_loss_1", "validation_loss_2", "task", "agreement"} <= lines[0].keys()
    card = (trained / "model" / "README.md").read_text()
    assert "messages of 1, 2 rows" in card and "agent.think(" in card
    assert not list(trained.rglob("*adapter*"))


def test_latency_is_measured_shown_and_drawn_against_success(trained, pipeline, tmp_path, capsys):
    variants = ["text", "latent", "compressed:2"]
    settings = {"checkpoints": checkpoints(pipeline, trained), "variants": variants, "max_plan_tokens": 8}
    latency = {"episodes": [str(pipeline.held_out)], "games": 1, "settings": {**settings, "repeats": 1}}
    latency["settings"]["output"] = str(tmp_path / "latency")
    evaluation = {"episodes": [str(pipeline.held_out)], "games": 2, "settings": settings}
    evaluation["settings"] = {**settings, "output": str(tmp_path / "evaluation")}
    for name, config in (("latency", latency), ("evaluation", evaluation)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    assert main(["evaluate", "latency", "--config", str(tmp_path / "latency.yaml"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["variant"] for line in out.splitlines()] == variants
    assert "latency of one message" in err and "compressed:2" in err
    assert main(["evaluate", "--config", str(tmp_path / "evaluation.yaml")]) == 0
    capsys.readouterr()
    words = ["plot", "tradeoff", str(tmp_path / "evaluation"), "--latency", str(tmp_path / "latency")]
    assert main([*words, "--output", str(tmp_path / "drawn")]) == 0
    paths = capsys.readouterr().out.split()
    assert [path.rpartition("/")[2] for path in paths] == ["tradeoff.png", "tradeoff.svg"]
    assert main([*words[:3], "--latency", str(tmp_path / "nowhere"), "--output", str(tmp_path / "x")]) == 2
    assert "no measurements" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_latents_are_read_and_drawn(trained, pipeline, tmp_path, capsys):
    words = ["plot", "parallelism", "--model", str(trained / "model"), "--thoughts", str(pipeline.thoughts)]
    assert main([*words, "--output", str(tmp_path), "--latent-steps", "3", "--limit", "4"]) == 0
    out, err = capsys.readouterr()
    assert [path.rpartition("/")[2] for path in out.split()] == ["parallelism.png", "parallelism.svg"]
    lines = read_lines(tmp_path / "latents.jsonl")
    assert len(lines) == 2 * 4 * 3 and {line["sender"] for line in lines} == {"trained", "untrained"}
    assert "token mass of latents" in err
