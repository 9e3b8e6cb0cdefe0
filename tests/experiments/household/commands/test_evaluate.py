import dataclasses
import json

import pytest

from interlat.cli.main import execute
from interlat.errors import InputError
from interlat.experiments.household.commands.evaluate import Evaluate
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold


def test_evaluation_prints_json_lines_and_leaves_a_report(pipeline, tmp_path, capsys):
    models = {kind: str(pipeline.actors[kind]) for kind in ("none", "text", "latent")}
    settings = EvaluateHousehold(
        Checkpoints(scout=str(pipeline.scout), **models), str(tmp_path), ("none", "latent", "zeros"), max_plan_tokens=6
    )
    draws = tmp_path / "draws.jsonl"
    two = [
        {**r, "episodes": [*r["episodes"], *({**e, "draw": 1, "evidence": "mug: today."} for e in r["episodes"])]}
        for r in read_episodes(pipeline.held_out)
    ]
    draws.write_text("".join(f"{json.dumps(record)}\n" for record in two))
    execute(Evaluate((str(pipeline.held_out),), settings, limit=2, threads=1, json=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6
    assert len({line["item"] for line in lines}) == 2 <= len(read_episodes(pipeline.held_out))
    for name in ("report.html", "config.yaml", "results.jsonl"):
        assert (tmp_path / name).exists()
    kept = (tmp_path / "config.yaml").read_text()
    # Another draw of the same games belongs into another folder, and one that there is not into none.
    for draw, message in ((1, "other evidence"), (7, "no draw 7")):
        with pytest.raises(InputError, match=message):
            execute(Evaluate((str(draws),), settings, limit=2, threads=1, draw=draw))
        assert (tmp_path / "config.yaml").read_text() == kept


def test_several_draws_are_played_under_their_own_seeds_and_reported_together(pipeline, tmp_path, capsys):
    models = {kind: str(pipeline.actors[kind]) for kind in ("none", "text", "latent")}
    settings = EvaluateHousehold(
        Checkpoints(scout=str(pipeline.scout), **models),
        str(tmp_path),
        ("none", "latent", "gaussian"),
        max_plan_tokens=6,
    )
    draws = tmp_path / "draws.jsonl"
    two = [
        {**r, "episodes": [*r["episodes"], *({**e, "draw": 1, "evidence": "mug: today."} for e in r["episodes"])]}
        for r in read_episodes(pipeline.held_out)
    ]
    draws.write_text("".join(f"{json.dumps(record)}\n" for record in two))
    one = Evaluate((str(draws),), settings, limit=2, threads=1, draws=1)
    first = one.run().records
    both = dataclasses.replace(one, draws=2)
    execute(dataclasses.replace(both, json=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[:6] == first, "what was played is not played again"
    assert len(lines) == 12 and [line["seed"] for line in lines] == [0] * 6 + [1] * 6
    assert {line["evidence"] for line in lines[6:]} == {"mug: today."} != {line["evidence"] for line in lines[:6]}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {(row["variant"], row["episodes"] / row["games"]) for row in summary["rows"]} == {
        (variant, 2) for variant in settings.variants
    }
    assert summary["seeds"] == [0, 1]
    kept = (tmp_path / "results.jsonl").read_bytes()
    execute(both)
    assert (tmp_path / "results.jsonl").read_bytes() == kept
    with pytest.raises(InputError, match="has no draw 2"):
        execute(dataclasses.replace(one, draws=3))
    with pytest.raises(InputError, match="draws is 0"):
        dataclasses.replace(one, draws=0)
