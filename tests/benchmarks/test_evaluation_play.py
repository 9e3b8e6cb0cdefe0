"""Both sides of the benchmark on two games with the bundled models."""

import json

import pytest

from benchmarks import evaluation_play
from benchmarks.evaluation import SMALL
from interlat.engine.distributed import Ranks
from interlat.experiments.household.commands.demo import demo_games


@pytest.mark.slow
def test_the_two_sides_take_the_same_actions(tmp_path):
    games = tmp_path / "games.jsonl"
    games.write_text("".join(json.dumps(record) + "\n" for record in demo_games(str(tmp_path), 2)))
    ours, plain = (
        evaluation_play.play(kind, SMALL, str(games), 2, str(tmp_path / kind), Ranks()) for kind in ("ours", "plain")
    )
    for variant in ("text", "latent"):
        assert ours[variant]["actions"] == plain[variant]["actions"] and len(plain[variant]["actions"]) == 2
        assert plain[variant]["seconds"] > 0
