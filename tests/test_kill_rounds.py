"""Kills at random instants, with the harness that is also a script for any other command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kill_rounds import kill_rounds, same_files, same_lines

WRITER = """
import sys, time
from pathlib import Path
from interlat.files import append_line, locked, read_lines
folder, careful = Path(sys.argv[1]), sys.argv[2] == "careful"
with locked(folder):
    done = {line["item"] for line in read_lines(folder / "lines.jsonl")} if careful else ()
    for item in range(40):
        if item not in done:
            append_line(folder / "lines.jsonl", {"item": item, "square": item**2, "seconds": time.time()})
            time.sleep(0.005)
"""
COMPARED = same_lines("lines.jsonl", ["item"])


@pytest.mark.parametrize(("how", "differs"), [("careful", False), ("careless", True)])
def test_kills_find_what_they_do_harm_to(tmp_path, how, differs):
    result = kill_rounds(lambda folder: [sys.executable, "-c", WRITER, str(folder), how], tmp_path, 3, COMPARED)
    assert result.kills == 3 and bool(result.differences) == differs and not result.leftovers
    if differs:
        assert "records twice" in result.differences[0]


def test_files_and_records_are_compared(tmp_path):
    for name, square in (("one", 4), ("other", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lines.jsonl").write_text(json.dumps({"item": 2, "square": square, "seconds": square}))
        (tmp_path / name / "same").write_text("same")
    folders = tmp_path / "one", tmp_path / "other"
    assert COMPARED(*folders) == ["lines.jsonl: 1 of 1 records differ, such as ('2',)"]
    assert same_files("*")(*folders) == ["lines.jsonl differs"] and same_files("same")(*folders) == []
    assert same_lines("lines.jsonl", ["item"], ["seconds", "square"])(*folders) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_training_that_was_killed_twenty_times_ends_as_if_it_had_not_been(pipeline, tmp_path):
    """Parameters, moments, best parameters, the exported agent and the metrics, bit for bit."""
    script = [sys.executable, str(Path(__file__).with_name("kill_rounds.py")), "--kills", "20", "--folder"]
    words = ["--episodes", str(pipeline.episodes), "--thoughts", str(pipeline.thoughts), "--message", "latent"]
    words += ["--tokenizer", str(pipeline.root / "tokenizer"), "--model.hidden-size", "16", "--model.layers", "1"]
    words += ["--model.heads", "2", "--adapter-heads", "2", "--validation-share", "0.2", "--schedule.steps", "60"]
    words += ["--schedule.batch-size", "4", "--schedule.checkpoint-every", "3", "--schedule.validate-every", "6"]
    command = [sys.executable, "-m", "interlat.cli", "train", "actor", *words, "--output", "{output}"]
    same = ["--same", "*.safetensors", "model/*.safetensors", "model/*.json", "--lines", "metrics.jsonl:step"]
    done = subprocess.run([*script, str(tmp_path), *same, "--", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"kills": 20, "differences": [], "leftovers": []}
