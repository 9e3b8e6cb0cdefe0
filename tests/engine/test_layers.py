import pytest
import torch

from interlat.engine.layers import KeptLayers, Tap
from interlat.errors import InputError


def test_layers_are_counted_from_both_ends():
    assert KeptLayers((1, -1, -2)).numbers(4) == (1, 4, 3)
    assert KeptLayers((1, -1), "post").norms(4) == ("pre", "post")
    assert KeptLayers((1, -1), "pre").norms(4) == ("pre", "pre")


@pytest.mark.parametrize("layers", [(), (0,), (5,), (-5,), (4, -1)])
def test_layers_that_a_model_does_not_have_are_refused(layers):
    with pytest.raises(InputError, match="of a model of 4 layers"):
        KeptLayers(layers).numbers(4)


def test_the_last_layer_after_the_norm_needs_nothing_but_the_result():
    assert KeptLayers().is_default
    assert Tap(KeptLayers((-1, 1)), 3).inner == {1}
    assert Tap(KeptLayers((-1,), "pre"), 3).inner == {3}


def test_several_layers_stand_side_by_side():
    tap = Tap(KeptLayers((1, -1)), 2)
    tap.see(1, torch.ones(2, 3, 4))
    taken = tap.take(torch.zeros(2, 3, 4))
    assert taken.shape == (2, 3, 2, 4)
    assert bool((taken[:, :, 0] == 1).all()) and bool((taken[:, :, 1] == 0).all())
