import torch

from interlat.agents.settings import AgentSettings
from interlat.engine.transformers import Engine
from interlat.train.model import SmallModel, build_model, export_model
from interlat.train.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(["go to drawer 3."] * 5, 400, ("<bop>", "<eop>"))


def test_a_seed_gives_one_model():
    shape = SmallModel(hidden_size=8, layers=1, heads=2, intermediate_size=8)
    one, same, other = (build_model(shape, TOKENIZER, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_export_rounds_the_file_and_not_the_model(tmp_path):
    shape = SmallModel(hidden_size=8, layers=2, heads=2, intermediate_size=8)
    model = build_model(shape, TOKENIZER, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model, TOKENIZER, tmp_path / "m", settings=AgentSettings(role="scout"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    loaded = Engine.load(str(tmp_path / "m"), dtype="float32")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, before[name].bfloat16().float()), name
    assert loaded.model.config.tie_word_embeddings
    assert (tmp_path / "m" / "agent.json").exists()
    export_model(model, TOKENIZER, tmp_path / "m")
    assert not (tmp_path / "m" / "agent.json").exists(), "an older export shows through"
