import os
import subprocess
import sys
from pathlib import Path

import pytest

from interlat.catalogue import MODELS
from interlat.errors import CheckpointError
from interlat.places import adapter_base, cache_folder, gguf_file, known_folder, model_place, short_name

NAME = "smollm2-135m"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "cache"


def test_the_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("INTERLAT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/interlat")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/interlat")


def test_a_name_means_what_exists_then_a_known_model_then_a_hub_id():
    with pytest.raises(CheckpointError, match=f"run: interlat models fetch {NAME}$"):
        model_place(NAME)
    with pytest.raises(CheckpointError, match="--accept-licence"):
        model_place("gemma-3-270m")
    known_folder(NAME).mkdir(parents=True)
    assert model_place(NAME) == str(known_folder(NAME))
    Path(NAME).mkdir()
    assert model_place(NAME) == NAME
    assert model_place("owner/name") == "owner/name"


def test_only_a_gguf_file_without_other_weights_is_one(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    assert gguf_file(str(folder)) is None
    (folder / "a.gguf").write_bytes(b"GGUF....")
    assert gguf_file(str(folder)) == folder / "a.gguf"
    (folder / "adapter.safetensors").touch()
    assert gguf_file(str(folder)) == folder / "a.gguf"
    (folder / "model.safetensors").touch()
    assert gguf_file(str(folder)) is None
    assert gguf_file(str(folder / "a.gguf")) == folder / "a.gguf"
    assert gguf_file("owner/name") is None


def test_a_damaged_adapter_config(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{", "utf-8")
    with pytest.raises(CheckpointError, match="is damaged"):
        adapter_base(tmp_path)


def test_places_need_no_torch():
    code = "import sys, interlat.places, interlat.files; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert said.stdout.strip() == "False"


def test_every_known_model_says_what_a_user_must_know():
    for name in MODELS.names():
        model = MODELS[name]
        assert model.name == name and model.licence and len(model.sha256) == 64
        assert all("==" in package for package in model.packages)
        assert model.download_bytes > 0 and model.file_bytes < model.folder_bytes
    assert [name for name in MODELS.names() if MODELS[name].terms] == ["gemma-3-270m"]


def test_a_headline_calls_a_trained_model_by_its_training():
    names = {"runs/actor/model": "actor", "org/name": "name", "smollm2-135m": "smollm2-135m", "model": "model"}
    assert {place: short_name(place) for place in names} == names
    assert short_name(Path("/models/qwen.gguf")) == "qwen.gguf"
