import dataclasses
import json

from interlat.agents.episodes import read_episodes
from interlat.evaluate.household import Checkpoints, EvaluateHousehold
from interlat.stages import (
    BenchEngine,
    Evaluate,
    MakeAlfworld,
    TrainTokenizer,
    run_evaluate,
    run_make_alfworld,
    run_train_tokenizer,
)


def test_made_games_are_won_by_the_expert(tmp_path, capsys):
    config = MakeAlfworld(str(tmp_path), 6, "unseen", mini=True, verify=True)
    assert run_make_alfworld(config) == 0
    assert "won 6 of 6" in capsys.readouterr().err


def test_the_tokenizer_is_the_same_every_time(pipeline, tmp_path):
    for name in ("one", "two"):
        run_train_tokenizer(TrainTokenizer(str(pipeline.episodes), str(tmp_path / name)))
    one, two = ((tmp_path / name / "tokenizer.json").read_text() for name in ("one", "two"))
    assert one == two


def test_evaluation_prints_json_lines_and_leaves_a_report(pipeline, tmp_path, capsys):
    models = {kind: str(pipeline.actors[kind]) for kind in ("none", "text", "latent")}
    settings = EvaluateHousehold(
        Checkpoints(scout=str(pipeline.scout), **models), str(tmp_path), ("none", "latent", "zeros"), max_plan_tokens=6
    )
    run_evaluate(Evaluate((str(pipeline.held_out),), settings, games=2, threads=1, json=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6
    assert len({line["item"] for line in lines}) == 2 <= len(read_episodes(pipeline.held_out))
    for name in ("report.html", "config.yaml", "results.jsonl"):
        assert (tmp_path / name).exists()


def test_bench_has_the_flags_of_every_bench():
    assert {field.name for field in dataclasses.fields(BenchEngine)} == {"quick", "json"}
