import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, Qwen2Config, Qwen3Config
from transformers.models.qwen3_next import Qwen3NextConfig

from interlat.engine.attention import layer_windows, positions_of_layer, visible_positions
from interlat.errors import CheckpointError


def test_windows_of_layers():
    assert layer_windows(Qwen3Config(num_hidden_layers=2)) == {"full_attention": None}
    assert layer_windows(MistralConfig(sliding_window=None)) == {"full_attention": None}
    assert layer_windows(MistralConfig(sliding_window=7)) == {"sliding_attention": 7}
    mixed = Qwen2Config(num_hidden_layers=4, use_sliding_window=True, sliding_window=5, max_window_layers=2)
    assert layer_windows(mixed) == {"full_attention": None, "sliding_attention": 5}


def test_layers_without_keys_are_refused():
    with pytest.raises(CheckpointError, match="linear_attention"):
        layer_windows(Qwen3NextConfig(num_hidden_layers=4))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_visible_columns_by_definition(data):
    rows, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    start = data.draw(st.integers(0, width - 1))
    window = data.draw(st.none() | st.integers(1, 6))
    mask = torch.tensor(data.draw(st.lists(st.lists(st.booleans(), min_size=width, max_size=width),
                                           min_size=rows, max_size=rows)))  # fmt: skip
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    visible = visible_positions(mask, positions, start, window)
    assert visible.shape == (rows, 1, width - start, width)
    for row in range(rows):
        for query in range(start, width):
            for column in range(width):
                near = window is None or int(positions[row, query] - positions[row, column]) < window
                expected = column == query or (column < query and bool(mask[row, column]) and near)
                assert bool(visible[row, 0, query - start, column]) == expected


def test_a_layer_sees_all_columns_but_those_hidden_from_it():
    mask = torch.tensor([[[True, False, True], [False, False, True]]])
    assert positions_of_layer(mask, 0, 5).tolist() == [[[[True, False, True, True, True]]]]
    assert positions_of_layer(mask, 1, 3).tolist() == [[[[False, False, True]]]]
    assert positions_of_layer(mask, 1, 2).tolist() == [[[[False, False]]]]
