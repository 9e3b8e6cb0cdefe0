"""Controls on caches, against the controls of one matrix applied by hand."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from interlat.controls.caches import REFUSED, controlled, names
from interlat.controls.latents import parse_control
from interlat.engine.cache_message import cache_of_message, message_of_cache
from interlat.engine.sampling import row_seed
from interlat.errors import InputError

TEXT = "the drawer and the lamp"
SELECTING = {
    "first_rows:2": [0, 1],
    "last_rows:2": [-2, -1],
    "spaced_rows:1": None,
    "keep_first:0.5": None,
    "keep_rows:0.5": None,
}


@pytest.fixture(scope="module")
def engine(agents):
    return agents["sender"].engine


@pytest.fixture(scope="module")
def cache(engine):
    return message_of_cache(engine, engine.prefill([TEXT]))


@pytest.fixture(scope="module")
def padded(cache):
    """The same conversation with padding before it and something in the padding, as in a batch."""

    def wider(tensor, value, *behind):
        return functional.pad(tensor, (*behind, 3, 0), value=value)

    return dataclasses.replace(
        cache,
        keys=tuple(wider(layer, 7.0, 0, 0) for layer in cache.keys),
        values=tuple(wider(layer, 7.0, 0, 0) for layer in cache.values),
        attention_mask=wider(cache.attention_mask, False),
        position_ids=wider(cache.position_ids, 0),
        segment_ids=wider(cache.segment_ids, -1),
    )


@pytest.mark.parametrize("name", ["covariance_gaussian", "covariance_noise:0.5", "white_noise", "random_rotation"])
def test_each_head_is_changed_as_a_message_of_rows_is(cache, name):
    control, value = parse_control(name)
    generator = torch.Generator().manual_seed(row_seed(3, "a", control.name))
    changed = controlled(name, cache, "a", run_seed=3)
    for part in ("keys", "values"):
        for before, after in zip(getattr(cache, part), getattr(changed, part), strict=True):
            for head in range(before.shape[1]):
                expected = control.operation(before[0, head].double(), generator, value).to(before.dtype)
                assert torch.equal(after[0, head], expected) and not torch.equal(after[0, head], before[0, head])


def test_a_rotation_keeps_mean_and_covariance_of_every_head(cache):
    changed = controlled("random_rotation", cache, "a", run_seed=0)
    for before, after in zip((*cache.keys, *cache.values), (*changed.keys, *changed.values), strict=True):
        assert torch.allclose(before.mean(2), after.mean(2), atol=1e-5)
        centred = [layer - layer.mean(2, keepdim=True) for layer in (before, after)]
        assert torch.allclose(*(one.mT @ one for one in centred), atol=1e-4)


@pytest.mark.parametrize("name", names())
def test_padding_does_not_matter_and_what_is_padding_stays(cache, padded, name):
    alone, beside = (controlled(name, one, "a", run_seed=1) for one in (cache, padded))
    kept = beside.attention_mask[0]
    assert torch.equal(alone.position_ids[0], beside.position_ids[0, kept])
    for one, other in zip((*alone.keys, *alone.values), (*beside.keys, *beside.values), strict=True):
        assert torch.equal(one, other[:, :, kept])


@pytest.mark.parametrize(("name", "expected"), SELECTING.items())
def test_positions_that_are_kept_stay_where_they_were(engine, cache, name, expected):
    changed = controlled(name, cache, "a", run_seed=0)
    positions = cache.position_ids[0]
    assert changed.latents < cache.latents and changed.next_position.tolist() == cache.next_position.tolist()
    if expected is not None:
        assert changed.position_ids[0].tolist() == positions[expected].tolist()
    place = torch.isin(positions, changed.position_ids[0])
    assert all(torch.equal(a[:, :, place], b) for a, b in zip(cache.keys, changed.keys, strict=True))
    trimmed = engine.prefill([TEXT]).trim(place[None])
    assert torch.equal(cache_of_message(engine, changed).keys[0], trimmed.keys[0])
    assert torch.equal(
        engine.prefill([" and then"], cache=cache_of_message(engine, changed)).hidden_states,
        engine.prefill([" and then"], cache=trimmed).hidden_states,
    )


def test_int8_travels_in_a_quarter_of_float32(cache):
    changed = controlled("int8", cache, "a", run_seed=0)
    assert changed.keys[0].dtype == torch.int8
    assert changed.keys[0].nbytes * 4 == cache.keys[0].nbytes
    with pytest.raises(InputError, match="not rounded to int8"):
        controlled("zeros", changed, "a", run_seed=0)


def test_two_conversations_and_too_few_positions_are_refused(engine, cache):
    two = message_of_cache(engine, engine.prefill([TEXT, TEXT]))
    with pytest.raises(InputError, match="one conversation"):
        controlled("zeros", two, "a", run_seed=0)
    single = controlled("first_rows", cache, "a", run_seed=0)
    with pytest.raises(InputError, match="at least 2 positions and the cache of 'a' has 1"):
        controlled("random_rotation", single, "a", run_seed=0)
    assert controlled("gaussian", single, "a", run_seed=0).latents == 1


def test_what_is_refused_is_a_control_of_rows():
    for name in REFUSED:
        assert parse_control(name)[0].name == name and name not in names()
