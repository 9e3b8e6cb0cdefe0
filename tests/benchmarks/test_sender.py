import pytest
from transformers import Qwen2Config

from benchmarks import sender as bench


def test_one_record_a_length(monkeypatch):
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    tiny = Qwen2Config(vocab_size=200, num_hidden_layers=1, tie_word_embeddings=True, **shape)
    monkeypatch.setattr(bench, "SMALL", tiny)
    monkeypatch.setattr(bench, "LENGTHS", {True: (2, 5)})
    records = list(bench.run(quick=True))
    assert [record["metric"] for record in records] == ["sender_seconds"] * 2
    assert [record["case"] for record in records] == [
        f"small model, plan of {tokens} tokens, K=8, prompt 128" for tokens in (2, 5)
    ]
    for record in records:
        assert record["ratio"] == pytest.approx(record["reference"] / record["ours"])
    assert records[0]["ours"] == records[1]["ours"]
    assert [record["plan_tokens"] for record in records] == [2, 5]
