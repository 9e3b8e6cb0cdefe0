from interlat.cli.main import execute
from interlat.cli.store_hub import PullStore, PushStore
from interlat.store import hub


def test_push_prints_the_address_and_pull_the_count(make_store, tmp_path, capsys, monkeypatch):
    store = make_store()
    asked = []

    class Api:
        def __getattr__(self, name):
            asked.append(name)
            return lambda *_, **__: type("Commit", (), {"commit_url": "https://hub/commit/1"})

    monkeypatch.setattr(hub, "HfApi", Api)
    execute(PushStore(store, "x/y"))
    assert capsys.readouterr().out == "https://hub/commit/1\n"
    assert asked == ["create_repo", "upload_file", "upload_folder"]
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: store)
    execute(PullStore("x/y", str(tmp_path / "back")))
    assert "12 thoughts in" in capsys.readouterr().err
