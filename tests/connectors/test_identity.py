import math

import pytest
import torch

from interlat.connectors.base import Connector
from interlat.connectors.identity import NormMatchedIdentity, RandomRotation, mean_embedding_norm
from interlat.errors import InputError


def test_the_mean_norm_is_the_mean_of_row_norms() -> None:
    table = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.bfloat16)
    assert mean_embedding_norm(table) == pytest.approx(2.0)
    many = torch.randn(20_000, 2)
    slow = sum(math.sqrt(sum(value * value for value in row)) for row in many.tolist()) / 20_000
    assert mean_embedding_norm(many) == pytest.approx(slow, rel=1e-6)


def test_rows_keep_their_direction_and_get_the_norm() -> None:
    table = torch.randn(50, 8)
    align = NormMatchedIdentity.of_embeddings(table)
    states = 100 * torch.randn(2, 3, 8)
    aligned = align(states)
    torch.testing.assert_close(aligned.norm(dim=-1), torch.full((2, 3), table.norm(dim=-1).mean()))
    torch.testing.assert_close(torch.cosine_similarity(aligned, states, dim=-1), torch.ones(2, 3))


def test_zero_rows_stay_zero_padding_becomes_zero_and_the_dtype_is_kept() -> None:
    align = NormMatchedIdentity(4, 2.0)
    states = torch.stack([torch.zeros(4), torch.ones(4), torch.ones(4)]).bfloat16()
    aligned = align(states, torch.tensor([True, True, False]))
    assert aligned.dtype == torch.bfloat16
    assert aligned.tolist() == [[0.0] * 4, [1.0] * 4, [0.0] * 4]


def test_it_is_an_align_method() -> None:
    assert isinstance(NormMatchedIdentity(4, 1.0), Connector)


def test_wrong_sizes_and_norms_are_refused() -> None:
    with pytest.raises(InputError, match="expected 4"):
        NormMatchedIdentity(4, 1.0)(torch.zeros(2, 5))
    with pytest.raises(InputError, match="positive"):
        NormMatchedIdentity(4, 0.0)
    with pytest.raises(InputError, match="empty"):
        mean_embedding_norm(torch.empty(0, 4))


def test_it_keeps_angles_between_rows_and_gives_the_norm():
    connector = RandomRotation(NormMatchedIdentity(16, 3.0), seed=1)
    assert isinstance(connector, Connector)
    states = torch.randn(5, 16)
    mapped = connector(states)
    torch.testing.assert_close(mapped.norm(dim=1), torch.full((5,), 3.0))
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(mapped[:1], mapped), cosine(states[:1], states))
    assert cosine(mapped, states).abs().max() < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_the_seed_decides(seed):
    identity = NormMatchedIdentity(8, 1.0)
    states = torch.randn(2, 8)
    mine = RandomRotation(identity, seed)(states)
    assert torch.equal(mine, RandomRotation(identity, seed)(states))
    assert not torch.allclose(mine, RandomRotation(identity, seed + 1)(states))


def test_padding_becomes_zero_and_the_dtype_is_kept():
    connector = RandomRotation(NormMatchedIdentity(4, 1.0), 0)
    mapped = connector(torch.randn(2, 4).bfloat16(), torch.tensor([True, False]))
    assert mapped.dtype == torch.bfloat16 and mapped[0].any() and not mapped[1].any()
