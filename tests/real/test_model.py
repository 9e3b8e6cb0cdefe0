"""How the model of these tests is found. Nothing is fetched here."""

import sys

import pytest

from real import model


def test_a_folder_that_is_named_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv(model.GIVEN, str(tmp_path))
    assert model.real_model() == tmp_path
    monkeypatch.setenv(model.GIVEN, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=f"{model.GIVEN} is .*nowhere"):
        model.real_model()


@pytest.mark.parametrize("program", ["import sys; sys.exit('no index in reach')", ""])
def test_a_model_that_cannot_be_fetched_is_an_error_of_one_line(program, tmp_path, monkeypatch):
    """Also where the command says that all went well."""
    monkeypatch.delenv(model.GIVEN, raising=False)
    monkeypatch.setenv(model.CACHE, str(tmp_path))
    command = tmp_path / "python"
    command.write_text(f"#!{sys.executable}\n{program}\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    with pytest.raises(FileNotFoundError, match=model.NAME) as caught:
        model.real_model()
    assert "\n" not in str(caught.value) and ("no index in reach" in str(caught.value)) == bool(program)


def test_a_cached_model_is_not_fetched_again(tmp_path, monkeypatch):
    monkeypatch.delenv(model.GIVEN, raising=False)
    monkeypatch.setenv(model.CACHE, str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    folder = tmp_path / "models" / model.NAME
    folder.mkdir(parents=True)
    assert model.real_model() == folder
