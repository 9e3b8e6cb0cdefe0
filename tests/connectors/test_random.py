import pytest
import torch

from interlat.connectors.base import Align
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.random import RandomAlignment


def test_it_keeps_angles_between_rows_and_gives_the_norm():
    align = RandomAlignment(NormMatchedIdentity(16, 3.0), seed=1)
    assert isinstance(align, Align)
    states = torch.randn(5, 16)
    mapped = align(states)
    torch.testing.assert_close(mapped.norm(dim=1), torch.full((5,), 3.0))
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(mapped[:1], mapped), cosine(states[:1], states))
    assert cosine(mapped, states).abs().max() < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_the_seed_decides(seed):
    identity = NormMatchedIdentity(8, 1.0)
    states = torch.randn(2, 8)
    mine = RandomAlignment(identity, seed)(states)
    assert torch.equal(mine, RandomAlignment(identity, seed)(states))
    assert not torch.allclose(mine, RandomAlignment(identity, seed + 1)(states))


def test_padding_becomes_zero_and_the_dtype_is_kept():
    align = RandomAlignment(NormMatchedIdentity(4, 1.0), 0)
    mapped = align(torch.randn(2, 4).bfloat16(), torch.tensor([True, False]))
    assert mapped.dtype == torch.bfloat16 and mapped[0].any() and not mapped[1].any()
