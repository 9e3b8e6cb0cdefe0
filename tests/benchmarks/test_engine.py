import pytest
import torch
from transformers import Qwen2Config

from benchmarks import engine as bench
from benchmarks.__main__ import main

FIELDS = {"bench", "case", "metric", "unit", "ours", "reference", "ratio", "machine"}


METRICS = [
    "fast_path_tokens",
    "fast_path_latent_steps",
    "tokens_per_second",
    "latent_steps_per_second",
    "bandwidth_share",
]


@pytest.fixture
def small(monkeypatch):
    """The same benchmark over models and efforts of a moment."""
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    monkeypatch.setattr(bench, "TINY", config)
    monkeypatch.setattr(bench, "HALF_BILLION", config)
    monkeypatch.setattr(bench, "EFFORT", dict.fromkeys(bench.EFFORT, bench.Effort(steps=2, rounds=1)))
    monkeypatch.setattr(bench, "read_bandwidth", lambda device: 1e9)


def test_one_record_a_case_and_metric(small):
    records = list(bench.run(quick=True))
    assert [(record["case"], record["metric"]) for record in records] == [
        (case, metric)
        for case in ("tiny batch 1", "tiny batch 8", "0.5B batch 1", "0.5B batch 8")
        for metric in METRICS
    ]
    for record in records:
        assert set(record) == FIELDS and record["bench"] == "engine"
        assert record["ratio"] == pytest.approx(record["ours"] / record["reference"])


def test_the_plain_loop_computes_what_the_engine_computes(small):
    """Otherwise the comparison would be worthless."""
    model = bench.random_model(bench.TINY, torch.float32, torch.device("cpu"))
    engine = bench.HFEngine.wrap(model, bench.bare_tokenizer())
    ids = torch.randint(1, 64, (2, 5), generator=torch.Generator().manual_seed(0))
    memory = engine.prefill([[bench.Tokens(tuple(row))] for row in ids.tolist()])
    plain = bench.PlainLoop(model, ids)
    torch.testing.assert_close(plain.first_state[:, 0], memory.hidden_states, atol=1e-5, rtol=1e-4)
    assert torch.equal(plain.first_token[:, 0], engine.logits(memory.hidden_states).argmax(-1))
    plain.tokens(3)
    plain.latent_steps(3)
    assert plain.cache.get_seq_length() == 5


def test_bytes_of_a_step_are_weights_of_the_layers_and_the_cache(small):
    model = bench.random_model(bench.TINY, torch.float32, torch.device("cpu"))
    engine = bench.HFEngine.wrap(model, bench.bare_tokenizer())
    memory = engine.prefill([[bench.Tokens((1, 2, 3, 4))]])
    weights = sum(p.numel() for p in model.model.layers.parameters())
    # Halfway through 4 steps the cache holds 4 + 2 columns of one key head of 8 numbers, twice.
    assert bench._bytes_of_a_step(engine, memory, 4) == 4 * (weights + 6 * 8 * 2)


def test_bandwidth_is_measured():
    assert bench.read_bandwidth(torch.device("cpu"), megabytes=1) > 1e8


def test_the_share_of_the_matrix_limit(small, monkeypatch):
    monkeypatch.setattr(bench, "matrix_speed", lambda device, dtype: 1e12)
    monkeypatch.setattr(bench, "PREFILL_LENGTH", 32)

    def in_turns(ours, reference, device, rounds):
        ours(), reference()
        return 0.5, 2.0

    monkeypatch.setattr(bench, "_in_turns", in_turns)
    found = [record for record in bench.run(device_name="cpu") if record["metric"] == "matrix_share"]
    model = bench.random_model(bench.TINY, torch.float32, torch.device("cpu"))
    operations = 2 * sum(p.numel() for p in model.model.layers.parameters()) * bench.PREFILL_LENGTH
    assert [record["case"] for record in found] == ["0.5B batch 1"] and found[0]["ratio"] == pytest.approx(4)
    assert found[0]["ours"] == pytest.approx(operations / 1e12 / 0.5)


def test_the_speed_of_a_product_is_measured():
    assert bench.matrix_speed(torch.device("cpu"), torch.float32, size=256) > 1e8


def test_a_device_is_for_the_engine_alone(capsys):
    assert main(["store", "--device", "cpu"]) == 2
    assert "leave it out for store" in capsys.readouterr().err
    assert main(["engine", "--device", "cuda:77"]) == 2
    assert capsys.readouterr().err.startswith("error: device cuda:77 asked for")
