import json
import stat

import pytest
import torch
from safetensors import safe_open

from interlat.agents.settings import AgentSettings
from interlat.engine.hf import Engine
from interlat.experiments.tokenizer import train_tokenizer
from interlat.training.model import build_model, compiled_backbone, export_model
from interlat.training.options import SmallModel

TOKENIZER = train_tokenizer(["go to drawer 3."] * 5, 400, ("<bop>", "<eop>"))


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_seed_gives_one_model(family):
    shape = SmallModel(family, hidden_size=8, layers=1, heads=2, intermediate_size=8)
    assert build_model(shape, TOKENIZER, 0).config.model_type == family
    one, same, other = (build_model(shape, TOKENIZER, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_every_matrix_begins_at_the_scale_of_its_inputs():
    shape = SmallModel(hidden_size=64, layers=2, heads=2, intermediate_size=256)
    for name, parameter in build_model(shape, TOKENIZER, 0).named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert parameter.std().item() == pytest.approx((4 * parameter.shape[1]) ** -0.5, rel=0.05), name
        elif parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(64**-0.5, rel=0.05), name


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
    assert (tmp_path / "m" / "agent.json").exists() and not (tmp_path / "m" / "README.md").exists()
    export_model(model, TOKENIZER, tmp_path / "m", card="# m\n")
    assert (tmp_path / "m" / "README.md").read_text() == "# m\n"
    export_model(model, TOKENIZER, tmp_path / "m")
    assert not list((tmp_path / "m").glob("*.md")), "an older export shows through"
    assert not (tmp_path / "m" / "agent.json").exists(), "an older export shows through"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_written_once_and_the_configuration_names_the_format_of_the_file(tmp_path, tied, dtype):
    """The vocabulary of SmolLM2-135M as a head of its own made 326 MB of 269."""
    shape = SmallModel(hidden_size=8, layers=1, heads=2, intermediate_size=8, tied=tied)
    model = build_model(shape, TOKENIZER, 0)
    export_model(model, TOKENIZER, tmp_path / "m", dtype=dtype)
    path = tmp_path / "m" / "model.safetensors"
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {dtype}
    assert names == {name for name in model.state_dict() if not tied or name != "lm_head.weight"}
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "m" / "config.json").stat().st_mode)
    assert Engine.load(str(tmp_path / "m"), dtype="float32").model.config.tie_word_embeddings == tied


def test_compiling_changes_no_gradient_for_any_length():
    shape = SmallModel(hidden_size=8, layers=2, heads=2, intermediate_size=8)
    gradients = []
    for wanted in (False, True):
        model = build_model(shape, TOKENIZER, 0)
        backbone = compiled_backbone(model, wanted)
        assert (backbone is model.base_model) == (not wanted)
        for length in (7, 12):
            embeddings = torch.randn(2, length, 8, generator=torch.Generator().manual_seed(length))
            backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)
