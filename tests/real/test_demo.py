"""The demo with the real model and the bundled adapters."""

from interlat.experiments.household.commands.demo import REAL_MODEL, Demo


def test_scout_and_actor_play_two_games(tmp_path, place, monkeypatch):
    models = tmp_path / "cache" / "models"
    models.mkdir(parents=True)
    (models / REAL_MODEL).symlink_to(place)
    monkeypatch.setenv("INTERLAT_CACHE", str(models.parent))
    played = Demo(real=True, limit=2, variants=("latent",), output=str(tmp_path / "run"), threads=1).run()
    assert [line["failure"] for line in played.records] == ["", ""]
    assert {line["split"] for line in played.records} == {"seen", "unseen"}
    for line in played.records:
        # A scout that was loaded without its adapter writes no such plan.
        assert line["plan"].startswith("Find ") and line["latents"] > 5
        assert all(turn["action"] for turn in line["turns"])
