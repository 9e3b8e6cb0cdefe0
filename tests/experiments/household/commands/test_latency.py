"""The commands about short messages, from configuration files to what they leave."""

import json

import yaml

from interlat.cli.main import main


def checkpoints(pipeline, short):
    folders = {"scout": pipeline.scout, **pipeline.actors, "compressed": short["compressed"]}
    return {role: str(folder) for role, folder in folders.items()}


def test_latency_is_measured_shown_and_drawn_against_success(short, pipeline, tmp_path, capsys):
    variants = ["text", "latent", "compressed:2"]
    settings = {"checkpoints": checkpoints(pipeline, short), "variants": variants, "max_plan_tokens": 8}
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
