import json

import pytest

from interlat.agents.settings import AgentSettings
from interlat.cli.main import execute
from interlat.errors import CheckpointError, InputError
from interlat.experiments.household.commands import demo
from interlat.experiments.household.commands.demo import Demo
from interlat.experiments.household.evaluate import Checkpoints
from interlat.places import adapter_base


@pytest.fixture
def small(pipeline, monkeypatch):
    models = {kind: str(pipeline.actors[kind]) for kind in ("none", "text", "latent")}
    monkeypatch.setattr(demo, "bundled_checkpoints", lambda: Checkpoints(scout=str(pipeline.scout), **models))


def test_the_demo_plays_reports_and_prints_one_json_line_an_episode(small, tmp_path, capsys):
    output = tmp_path / "run"
    config = Demo(limit=4, output=str(output), variants=("none", "text", "latent", "zeros"), json=True, threads=1)
    execute(config)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 16
    assert {"item", "variant", "success", "steps"} <= set(lines[0])
    assert sorted({line["split"] for line in lines}) == ["seen", "unseen"]
    for name in ("results.jsonl", "report.html", "summary.md", "config.yaml", "figures/success.png"):
        assert (output / name).stat().st_size
    before = (output / "results.jsonl").read_text()
    execute(config)
    assert (output / "results.jsonl").read_text() == before


def test_demo_games_are_never_training_games(small, tmp_path, pipeline):
    from interlat.experiments.household.episodes import read_episodes

    layouts = {json.dumps(r["layout"], sort_keys=True) for r in read_episodes(pipeline.episodes)}
    records = demo.demo_games(str(tmp_path), 4)
    assert not layouts & {json.dumps(r["layout"], sort_keys=True) for r in records}
    assert {r["split"] for r in records} == {"seen", "unseen"}


def test_too_few_games_are_refused():
    with pytest.raises(InputError, match="at least 2"):
        Demo(limit=1)


def test_the_real_demo_plays_in_plain_english_with_its_own_models(pipeline, tmp_path, monkeypatch):
    models = {kind: str(pipeline.actors[kind]) for kind in ("none", "text", "latent")}
    monkeypatch.setattr(demo, "real_checkpoints", lambda: Checkpoints(scout=str(pipeline.scout), **models))
    monkeypatch.setattr(demo, "model_place", lambda name: name)
    config = Demo(real=True, limit=2, output=str(tmp_path), variants=("none", "text"), threads=1)
    played = config.run()
    assert {line["variant"] for line in played.records} == {"none", "text"} and len(played.records) == 4
    episodes = [json.loads(line) for path in (tmp_path / "games").glob("*.jsonl") for line in path.open()]
    assert {episode["language"] for episode in episodes} == {"plain"}
    assert json.loads((tmp_path / "settings.json").read_text())["dtype"] == "auto"


def test_the_defaults_of_the_two_demos():
    small, real = Demo(), Demo(real=True)
    assert (small.limit, small.output, small.variants) == (120, "runs/demo", demo.DEMO_VARIANTS)
    assert (real.limit, real.output, real.variants) == (30, "runs/demo-real", demo.REAL_VARIANTS)


def test_the_real_demo_says_how_to_get_its_model_before_it_writes_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="run: interlat models fetch smollm2-135m"):
        Demo(real=True, output=str(tmp_path / "run")).run()
    assert not (tmp_path / "run").exists()


def test_the_adapters_of_the_real_demo_come_with_the_package():
    checkpoints = demo.real_checkpoints()
    reads = {"scout": "", "none": "none", "text": "text", "latent": "hidden"}
    for kind, message_kind in reads.items():
        place = getattr(checkpoints, kind)
        assert adapter_base(place) == demo.REAL_MODEL and AgentSettings.beside(place).message_kind == message_kind
