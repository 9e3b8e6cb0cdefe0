import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from interlat.engine.backend import layers_of
from interlat.engine.hf import Engine
from interlat.engine.prompt import Tokens
from interlat.engine.recorder import HiddenStateRecorder, LayerSelection
from interlat.errors import CheckpointError, InputError
from sweep.tiny_models import tiny_model


def test_layers_are_counted_from_both_ends():
    assert LayerSelection((1, -1, -2)).numbers(4) == (1, 4, 3)
    assert LayerSelection((1, -1), "post").norms(4) == ("pre", "post")
    assert LayerSelection((1, -1), "pre").norms(4) == ("pre", "pre")


@pytest.mark.parametrize("layers", [(), (0,), (5,), (-5,), (4, -1)])
def test_layers_that_a_model_does_not_have_are_refused(layers):
    with pytest.raises(InputError, match="of a model of 4 layers"):
        LayerSelection(layers).numbers(4)


def test_the_last_layer_after_the_norm_needs_nothing_but_the_result():
    assert LayerSelection().is_default
    assert HiddenStateRecorder(LayerSelection((-1, 1)), 3).inner == {1}
    assert HiddenStateRecorder(LayerSelection((-1,), "pre"), 3).inner == {3}


def test_several_layers_stand_side_by_side():
    recorder = HiddenStateRecorder(LayerSelection((1, -1)), 2)
    recorder.see(1, torch.ones(2, 3, 4))
    taken = recorder.take(torch.zeros(2, 3, 4))
    assert taken.shape == (2, 3, 2, 4)
    assert bool((taken[:, :, 0] == 1).all()) and bool((taken[:, :, 1] == 0).all())


# Their layers are called `h` or `layers`, and get their masks by place or by name.
GPT_LIKE = ["gpt2", "gptj", "codegen", "falcon", "gpt_bigcode", "ctrl", "opt"]
IDS = (15, 6, 27, 8, 39)


@pytest.fixture(scope="module")
def wrapped(make_tokenizer):
    return functools.cache(lambda name: Engine.wrap(tiny_model(name), make_tokenizer("chatml"), name))


@pytest.mark.parametrize("name", GPT_LIKE)
def test_layers_of_any_name_are_seen(wrapped, name):
    engine = wrapped(name)
    states = engine.prefill_hidden([[Tokens(IDS)], [Tokens(IDS[:2])]], kept=LayerSelection((1, 2)))[1][0]
    with torch.no_grad():
        expected = engine.model(input_ids=torch.tensor([IDS]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(states, torch.stack(expected[1:], dim=2)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GPT_LIKE)
def test_a_column_hidden_from_every_layer_is_seen_by_none(wrapped, name):
    engine = wrapped(name)
    memory = engine.prefill([[Tokens(IDS)]])
    seen = torch.tensor([[True, True, False, True, True]])
    hidden = replace(memory, layer_mask=seen[:, None].repeat(1, 2, 1), spare=None)
    follow = [[Tokens((21, 22))]]
    unseen = engine.prefill(follow, replace(memory, attention_mask=seen, spare=None)).hidden_states
    torch.testing.assert_close(engine.prefill(follow, hidden).hidden_states, unseen, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(engine.prefill(follow, memory).hidden_states, unseen, rtol=1e-2)
    half = engine.prefill(follow, memory.only_layers([2])).hidden_states
    assert not torch.allclose(half, engine.prefill(follow, memory).hidden_states, rtol=1e-2)


@pytest.mark.parametrize("name", ["longcat_flash", "hrm_text"])
def test_layers_that_cannot_be_told_apart_are_refused_where_they_are_asked_for(wrapped, name):
    """Two attentions in a layer, and stacks that run several times: there the last layer alone is read."""
    engine = wrapped(name)
    assert engine.prefill_hidden([[Tokens(IDS)]])[1][0].shape == (5, 32)
    with pytest.raises(CheckpointError, match="lists of"):
        engine.prefill_hidden([[Tokens(IDS)]], kept=LayerSelection((1, 2)))


def test_the_outermost_list_of_that_length_is_the_layers():
    attention = nn.ModuleDict({"heads": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])})
    decoder = nn.ModuleDict({"inner": attention, "h": nn.ModuleList([nn.Linear(2, 2), nn.Linear(3, 3)])})
    assert layers_of(decoder, 2) is decoder["h"]
    decoder["other"] = nn.ModuleList([nn.Linear(2, 2), nn.Linear(3, 3)])
    with pytest.raises(CheckpointError, match="2 lists of 2 layers"):
        layers_of(decoder, 2)
    decoder["layers"] = nn.ModuleList([nn.Linear(2, 2), nn.Linear(3, 3)])
    assert layers_of(decoder, 2) is decoder["layers"], "the usual name needs no guess"
