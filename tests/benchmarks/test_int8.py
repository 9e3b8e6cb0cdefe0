import pytest

from benchmarks import int8 as bench

pytest.importorskip("torchao", reason="the package torchao is not installed")


def test_a_record_for_each_format_and_metric(build_model, make_tokenizer, tmp_path, monkeypatch):
    build_model("qwen2").save_pretrained(tmp_path)
    make_tokenizer("chatml").save_pretrained(tmp_path)
    monkeypatch.setitem(bench.EFFORT, True, bench.Effort((str(tmp_path),), texts=2, steps=2, rounds=1))
    records = {(record["case"].removeprefix(f"{tmp_path} "), record["metric"]): record for record in bench.run(True)}
    metrics = ("loss", "divergence", "first_choice", "weights")
    assert set(records) == {
        *((f"{name} / float32", metric) for name in ("bfloat16", "int8") for metric in metrics),
        *((f"int8 / bfloat16, batch {batch}", "latent_steps_per_second") for batch in (1, 8)),
    }  # fmt: skip
    rounded, half = (records[f"{name} / float32", "divergence"] for name in ("int8", "bfloat16"))
    assert 0 < half["ours"] < rounded["ours"] < 0.1 * rounded["reference"]
    sizes = [records[f"{name} / float32", "weights"]["ratio"] for name in ("bfloat16", "int8")]
    assert sizes[0] == 2 and 2 < sizes[1] < 4
