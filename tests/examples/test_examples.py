"""Every example runs as a user would run it, and each adds its part from outside in one file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(example):
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2


def test_there_is_one_for_every_part_that_others_may_add():
    names = {path.stem for path in EXAMPLES}
    parts = ("connector", "channel", "control", "benchmark")
    assert {*(f"add_a_{part}" for part in parts), "add_an_environment", "add_an_engine"} <= names
