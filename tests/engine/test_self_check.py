"""That the check at load goes past every window and scaling length, however long, and refuses what is wrong there."""

import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM, MoshiConfig

from interlat.engine import backend, llama_family, self_check
from interlat.engine.attention import layer_windows
from interlat.engine.hf import Engine
from interlat.errors import CheckpointError
from model_fixtures import make_longrope, make_model
from sweep.tiny_models import tiny_config, tiny_model

REFUSED = "computes other logits when it reads in parts"


@pytest.fixture
def tokenizer(make_tokenizer):
    return make_tokenizer("chatml")


@pytest.fixture
def checked(monkeypatch):
    """The models that were compared with plain passes, and the longest row of each."""
    seen = []

    def compare(engine, longest):
        seen.append((engine.model, longest + self_check.MARGIN))
        return before(engine, longest)

    before = self_check._compare
    monkeypatch.setattr(self_check, "_compare", compare)
    return seen


def without_windows(monkeypatch):
    def windows(config):
        return dict.fromkeys(layer_windows(config))

    for module in (backend, llama_family):
        monkeypatch.setattr(module, "layer_windows", windows)


@pytest.mark.parametrize("window", [16, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_engine_that_forgets_the_window_is_refused(monkeypatch, tokenizer, window, dtype):
    """16 is checked on the model itself, 100 on a twin of it."""
    Engine.wrap(make_model("mistral", sliding_window=window).to(dtype), tokenizer)
    without_windows(monkeypatch)
    with pytest.raises(CheckpointError, match=REFUSED):
        Engine.wrap(make_model("mistral", sliding_window=window).to(dtype), tokenizer)


@pytest.mark.parametrize("length", [32, 100])
def test_an_engine_that_chooses_factors_by_the_longest_row_is_refused(monkeypatch, tokenizer, length):
    rope = make_longrope().config.rope_parameters | {"original_max_position_embeddings": length}

    def model():
        return make_longrope(rope_parameters=dict(rope), original_max_position_embeddings=length)

    Engine.wrap(model(), tokenizer)
    for module in ("interlat.engine.transformers_model", "interlat.engine.self_check"):
        monkeypatch.setattr(f"{module}.read_rows_apart", lambda model: None)
    with pytest.raises(CheckpointError, match=REFUSED):
        Engine.wrap(model(), tokenizer)


def test_a_model_whose_windows_no_mask_of_ours_describes_is_refused(tokenizer):
    """Moshi was off by .83 past a window of 16, and loaded; GPT-Neo counts its windows in columns, holes included."""
    config = tiny_config("moshi")
    assert isinstance(config, MoshiConfig) and config.sliding_window < 16
    with pytest.raises(CheckpointError, match=REFUSED):
        Engine.wrap(tiny_model("moshi"), tokenizer)
    for window in (16, 100):
        torch.manual_seed(1)
        shape = {"vocab_size": 320, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128}
        config = GPTNeoConfig(**shape, attention_types=[[["local"], 2]], window_size=window)
        model = GPTNeoForCausalLM(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim < 2), std=0.2)
        with pytest.raises(CheckpointError, match=REFUSED):
            Engine.wrap(model, tokenizer)


def test_short_lengths_are_checked_on_the_model_and_long_ones_on_a_twin_of_it(checked, tokenizer):
    Engine.wrap(small := make_model("mistral", sliding_window=40), tokenizer)
    Engine.wrap(large := make_model("mistral", sliding_window=100), tokenizer)
    Engine.wrap(whole := make_model("mistral", sliding_window=256), tokenizer)
    (first, of_first), (second, of_second), (third, _) = checked
    assert first is small and of_first > 40
    assert second is not large and second.config.sliding_window == self_check.SHORT < of_second
    assert third is whole, "a window as long as the context hides nothing"
    assert large.config.sliding_window == 100, "the model itself stays as it is"
    for mine, other in zip(large.parameters(), second.parameters(), strict=True):
        assert mine is other, "no weight is copied"


def test_parts_of_another_class_are_taken_whole(tokenizer):
    """As quantised layers are, or those with low-rank updates."""

    class Doubled(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    model = make_model("mistral", sliding_window=100)
    mlp = model.model.layers[0].mlp
    doubled = Doubled(mlp.up_proj.in_features, mlp.up_proj.out_features, bias=False)
    doubled.weight = mlp.up_proj.weight
    mlp.up_proj = doubled
    engine = Engine.wrap(model, tokenizer)
    assert self_check._twin_of(engine).model.model.layers[0].mlp.up_proj is doubled


def test_a_model_that_computes_nan_is_refused(tokenizer):
    model = make_model("mistral", sliding_window=100)
    model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="weights are not finite"):
        Engine.wrap(model, tokenizer)
