import os
import subprocess
import sys
from pathlib import Path

import pytest

from interlat.experiments.household.author import AuthorOptions, author_games

PROGRAM = Path(__file__).with_name("random_play.py")


def digest(kind, steps, games, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ALFWORLD_DATA": str(tmp_path)}
    command = [sys.executable, str(PROGRAM), kind, str(steps), *map(str, games)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.timeout(600)
def test_texts_equal_the_stock_engine(small_games, tmp_path):
    games = [small_games["train"][1], small_games["unseen"][5]]
    assert digest("fast", 10, games, tmp_path) == digest("stock", 10, games, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "options", [AuthorOptions(), AuthorOptions(maximum_receptacles=12), AuthorOptions(legacy_text=True)]
)
def test_texts_equal_the_stock_engine_at_length(options, tmp_path):
    games = list(author_games(tmp_path / "games", 6, "seen", 4, options))
    assert digest("fast", 40, games, tmp_path) == digest("stock", 40, games, tmp_path)
