"""Reading in pieces, behind columns that were read before, against one pass over a row by itself."""

import pytest
import torch
from torch import nn

from interlat.errors import InputError
from interlat.training.cached_decoder import ColumnDecoder
from model_fixtures import make_longrope

PIECES = ((3, 4, 2), (6, 1, 5), (1, 2, 1))
"""For each row the lengths of three pieces."""


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(8)
    return [[torch.randn(length, 32, generator=generator).requires_grad_() for length in row] for row in PIECES]


def read_in_pieces(decoder, rows, left):
    """All rows at once, each piece padded on one side or the other, so that padding stands in the middle."""
    mask, read, states = torch.zeros(len(rows), 0, dtype=torch.bool), [], []
    for number, pieces in enumerate(zip(*rows, strict=True)):
        width = max(map(len, pieces))
        ahead = [width - len(piece) if left[number] else 0 for piece in pieces]
        inputs = torch.stack(
            [
                nn.functional.pad(piece, (0, 0, before, width - len(piece) - before))
                for piece, before in zip(pieces, ahead, strict=True)
            ]
        )
        places = torch.arange(width)[None, :] - torch.tensor(ahead)[:, None]
        mask = torch.cat([mask, (places >= 0) & (places < torch.tensor(list(map(len, pieces)))[:, None])], dim=1)
        positions = (mask.long().cumsum(1) - 1).clamp_min(0)
        found, columns = decoder(inputs, mask, positions, read)
        read.append(columns)
        states.append([found[row, before : before + len(pieces[row])] for row, before in enumerate(ahead)])
    return [torch.cat(parts) for parts in zip(*states, strict=True)]


@pytest.mark.parametrize("left", [(False, False, False), (True, True, True), (True, False, True)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "mistral"])
def test_pieces_equal_one_pass_of_each_row(build_model, rows, architecture, attention, checkpointing, left):
    model = build_model(architecture, attention=attention)
    found = read_in_pieces(ColumnDecoder(model.get_decoder(), checkpointing), rows, left)
    pieces = [piece for row in rows for piece in row]
    weights = [torch.randn(len(states), 32, generator=torch.Generator().manual_seed(2)) for states in found]
    expected = [model.get_decoder()(inputs_embeds=torch.cat(row)[None]).last_hidden_state[0] for row in rows]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    gradients = [
        torch.autograd.grad(sum((s * w).sum() for s, w in zip(states, weights, strict=True)), pieces)
        for states in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-4)


def test_a_row_whose_rotary_factors_would_change_between_two_pieces_is_refused():
    decoder = ColumnDecoder(make_longrope().get_decoder())
    mask, positions = torch.ones(1, 40, dtype=torch.bool), torch.arange(40)[None]
    _, columns = decoder(torch.zeros(1, 12, 32), mask[:, :12], positions[:, :12])
    decoder(torch.zeros(1, 20, 32), mask[:, :32], positions[:, :32], [columns])
    with pytest.raises(InputError, match="ends after 32 positions"):
        decoder(torch.zeros(1, 21, 32), mask[:, :33], positions[:, :33], [columns])
