import json
import sys
import types
from pathlib import Path

import pytest
import torch

from benchmarks import llama_cpp as bench
from benchmarks import llama_cpp_play as play
from interlat.engine.checkpoint import load_checkpoint
from interlat.errors import BenchmarkError

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (pip install 'interlat[gguf]')")
from benchmarks.gguf_file import write_gguf  # noqa: E402

PROMPTS = [[5, 17, 20], [33, 9, 101]]


@pytest.fixture
def folder(build_model, make_tokenizer, tmp_path):
    build_model("qwen2").save_pretrained(tmp_path / "model")
    make_tokenizer("chatml").save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_ours_and_plain_write_the_same(folder):
    found = [play.play(play.SIDES[side](folder, "float32", PROMPTS, 3), PROMPTS, 3, 1) for side in ("ours", "plain")]
    assert found[0]["written"] == found[1]["written"] and len(found[0]["written"][1]) == 3
    assert set(found[0]) == {"prefill", "decode", "answer", "latent", "written"}
    assert set(found[1]) == {"prefill", "answer", "latent", "written"}
    assert all(rate > 0 for one in found for name, rate in one.items() if name != "written")


@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_half_precision_weights_go_into_the_file_unchanged(kind, build_model, make_tokenizer, tmp_path):
    dtype = {"BF16": torch.bfloat16, "F16": torch.float16}[kind]
    model = build_model("llama").to(dtype)
    file = write_gguf(tmp_path / "model.gguf", model, make_tokenizer("chatml"), kind)
    assert {one.tensor_type.name for one in gguf.GGUFReader(file).tensors if len(one.shape) > 1} == {kind}
    read, _ = load_checkpoint(str(file), dtype, "cpu", False)
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in read.state_dict().items())


def test_one_record_a_phase_and_reference(monkeypatch, folder):
    rates = {"prefill": 4.0, "decode": 3.0, "answer": 2.0, "latent": 1.0, "written": [[1, 2], [3, 4]]}
    sides = {
        "ours": rates,
        "plain": {name: value for name, value in rates.items() if name != "decode"},
        "llama.cpp": {**rates, "written": [[1, 2], [3, 5]]},
    }
    asked = []

    def run_side(module, arguments, side):
        asked.append((side, Path(arguments[1]).suffix, arguments[2]))
        assert len(json.loads(Path(arguments[3]).read_text())) == 2
        return dict(sides[side])

    monkeypatch.setitem(sys.modules, "llama_cpp", types.SimpleNamespace(__spec__=True))
    monkeypatch.setattr(bench, "run_side", run_side)
    monkeypatch.setitem(bench.EFFORTS, True, [bench.Effort(folder, "float32", (2,), 4, 2, 1)])
    records = list(bench.run(quick=True))
    assert [(record["case"].split("/ ")[1], record["metric"]) for record in records] == [
        *[("plain", name) for name in ("prefill", "answer", "latent", "equal_tokens")],
        *[("llama.cpp", name) for name in ("prefill", "decode", "answer", "latent", "equal_tokens")],
    ]
    assert [record["ours"] for record in records if record["metric"] == "equal_tokens"] == [4, 3]
    assert asked == [("ours", "", "float32"), ("plain", "", "float32"), ("llama.cpp", ".gguf", "float32")]


def test_without_the_package_it_says_so(monkeypatch):
    for missing, advice in (("llama_cpp", "pip install llama-cpp-python"), ("gguf", "pip install gguf")):
        monkeypatch.setattr(bench, "find_spec", lambda name, missing=missing: None if name == missing else True)
        with pytest.raises(BenchmarkError, match=advice):
            next(bench.run())


def test_llama_cpp_writes_what_we_write(folder, make_tokenizer, tmp_path):
    pytest.importorskip("llama_cpp", reason="the package llama-cpp-python is not installed")
    model, tokenizer = load_checkpoint(folder, "float32", "cpu", False)
    file = write_gguf(tmp_path / "model.gguf", model, tokenizer, "F32")
    theirs, ours = (
        play.SIDES[side](place, "float32", PROMPTS, 5) for side, place in (("llama.cpp", str(file)), ("ours", folder))
    )
    for side in (theirs, ours):
        side.prefill()
    assert theirs.decode() == ours.decode()
    for side in (theirs, ours):
        side.get_ready()
    _, thoughts = ours.latent()
    torch.testing.assert_close(torch.from_numpy(theirs.latent()), thoughts[:, -1], atol=1e-3, rtol=1e-3)
