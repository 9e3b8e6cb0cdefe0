import pytest
import torch

from interlat.controls.latents import control_message
from interlat.controls.messages import CONTROLS, MessageControl, control_named, controlled, controls_of, fits
from interlat.engine.cache_message import message_of_cache
from interlat.errors import InputError
from interlat.messages import HiddenMessage, TextMessage


@pytest.fixture
def hidden(agents):
    return agents["sender"].think("put the kettle on the stove", 5)


@pytest.fixture
def cache(agents):
    engine = agents["sender"].engine
    return message_of_cache(engine, engine.prefill(["the drawer and the lamp"]))


def test_a_control_of_latents_is_the_one_of_their_tensor(hidden):
    for name in ("zeros", "gaussian", "random_rotation", "shuffled_rows", "first_rows:2"):
        changed = controlled(name, hidden, "a", run_seed=3)
        assert torch.equal(changed.hidden_states, control_message(name, hidden.hidden_states, "a", run_seed=3))
        assert changed.header.provenance["control"] == name
        assert changed.header.weights_fingerprint == hidden.header.weights_fingerprint
        assert len(changed.header.positions) in (0, len(changed.hidden_states))
    assert torch.equal(controlled("cross_task", hidden, "a", run_seed=3).hidden_states, hidden.hidden_states)


def test_words_are_shuffled_and_none_is_lost():
    message = TextMessage("find apple near shelf 1 then go")
    changed = controlled("shuffled_words", message, "a", run_seed=0)
    assert changed.text != message.text and sorted(changed.text.split()) == sorted(message.text.split())
    assert changed.text == controlled("shuffled_words", message, "a", run_seed=0).text
    assert controlled("shuffled_words", TextMessage("apple apple"), "a", run_seed=0).text == "apple apple"


def test_a_cache_keeps_its_moments_and_loses_its_content(cache, agents):
    zeros = controlled("zeros", cache, "a", run_seed=0)
    assert all(not layer.any() for layer in (*zeros.keys, *zeros.values))
    noise = controlled("gaussian", cache, "a", run_seed=0)
    assert torch.equal(noise.keys[1], controlled("gaussian", cache, "a", run_seed=0).keys[1])
    for layer, other in zip((*cache.keys, *cache.values), (*noise.keys, *noise.values), strict=True):
        assert layer.shape == other.shape and not torch.allclose(layer, other)
        assert (layer.mean(2) - other.mean(2)).abs().max() < 5 * layer.std(2).max()
    assert isinstance(agents["sender"].reply("Go.", noise, max_new_tokens=3), str)


def test_every_kind_has_its_controls_and_no_other(hidden, cache):
    assert controls_of("text") == ("cross_task", "shuffled_words")
    assert {"cross_task", "zeros", "gaussian", "random_rotation", "covariance_noise"} < set(controls_of("cache"))
    assert set(controls_of("hidden")) - set(controls_of("cache")) == {"shuffled_rows"}
    assert {"cross_task", "zeros", "gaussian", "covariance_gaussian"} < set(controls_of("hidden"))
    assert not {"first_rows", "int8"} & set(controls_of("hidden"))
    for kind in ("text", "hidden", "cache"):
        for name in controls_of(kind):
            assert kind in control_named(name, kind).kinds and fits(name, kind)
    for name, kind in (("shuffled_words", "hidden"), ("random_rotation", "text"), ("shuffled_words", "cache")):
        with pytest.raises(InputError, match=f"'{name}' is for .* not for {kind}"):
            control_named(name, kind)
        assert not fits(name, kind)
    assert fits("first-rows:4", "cache") and not fits("first_rows:4", "text") and not fits("gausian", "hidden")
    with pytest.raises(InputError, match="'gausian'"):
        control_named("gausian", "hidden")


def test_a_control_of_rows_that_means_nothing_on_a_cache_is_refused_with_the_reason(cache):
    for name, reason in (("shuffled_rows", "in any order"), ("pooled_rows:2", "the key of none")):
        with pytest.raises(InputError, match=f"'{name}' is not for cache messages.*{reason}"):
            control_named(name, "cache")
    with pytest.raises(InputError, match="needs a number"):
        controlled("keep_first:2", cache, "a", run_seed=0)


def test_a_control_from_outside_is_used(hidden, monkeypatch):
    monkeypatch.setattr(CONTROLS, "_places", dict(CONTROLS._places))
    CONTROLS.names()

    def doubled(message, item, seed):
        return HiddenMessage(2 * message.hidden_states, header=message.header)

    CONTROLS.add("doubled", MessageControl(("hidden",), doubled))
    assert "doubled" in controls_of("hidden") and "doubled" not in controls_of("text")
    changed = controlled("doubled", hidden, "a", run_seed=0)
    assert torch.equal(changed.hidden_states, 2 * hidden.hidden_states)
