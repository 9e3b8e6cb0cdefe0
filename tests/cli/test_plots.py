import json

import pytest

from interlat.cli import main as cli
from interlat.cli.main import execute, main
from interlat.cli.plots import PlotStore, PlotTraining
from interlat.errors import InputError
from interlat.files import read_lines


def test_pictures_of_a_store_are_named_on_stdout(make_store, tmp_path, capsys):
    execute(PlotStore(make_store(), str(tmp_path / "plots"), split="test"))
    paths = capsys.readouterr().out.splitlines()
    assert paths == [str(tmp_path / "plots" / f"{name}.png") for name in ("lengths", "norms", "pca")]


def test_pictures_are_named_on_stdout(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record = {"step": 1, "loss": 1.0, "validation_loss": 2.0}
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    runs = (str(tmp_path / "a"), str(tmp_path / "b"))
    execute(PlotTraining(runs[:1]))
    assert capsys.readouterr().out.splitlines() == [f"{runs[0]}/loss.png", f"{runs[0]}/loss.svg"]
    assert cli.main(["plot", "training", *runs, "--output", str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/both/loss.png", f"{tmp_path}/both/loss.svg"]
    with pytest.raises(InputError, match="set output"):
        execute(PlotTraining(runs))
    assert cli.main(["plot", "training", str(tmp_path / "c")]) == 2
    assert "first step" in capsys.readouterr().err


def test_latents_are_read_and_drawn(short, pipeline, tmp_path, capsys):
    words = ["plot", "parallelism", "--model", short["compressed"], "--thoughts", str(pipeline.thoughts)]
    assert main([*words, "--output", str(tmp_path), "--latent-steps", "3", "--limit", "4"]) == 0
    out, err = capsys.readouterr()
    assert [path.rpartition("/")[2] for path in out.split()] == ["parallelism.png", "parallelism.svg"]
    lines = read_lines(tmp_path / "latents.jsonl")
    assert len(lines) == 2 * 4 * 3 and {line["sender"] for line in lines} == {"trained", "untrained"}
    assert "token mass of latents" in err
