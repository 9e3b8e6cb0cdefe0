import math

import pytest
import torch

from interlat.connectors.resampler import FALL, Resampler, ResamplerConfig
from interlat.errors import CheckpointError, InputError

SIZE, HEADS = 12, 3
LENGTHS = (5, 2, 9)


def resampler_of(seed=0, scale=0.5):
    resampler = Resampler(ResamplerConfig(SIZE, queries=4, heads=HEADS))
    torch.manual_seed(seed)
    for parameter in resampler.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return resampler.eval()


def batch(fill=0.0):
    generator = torch.Generator().manual_seed(1)
    messages = [torch.randn(length, SIZE, generator=generator) for length in LENGTHS]
    padded = torch.full((len(LENGTHS), max(LENGTHS), SIZE), fill)
    for row, message in enumerate(messages):
        padded[row, : len(message)] = message
    mask = torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]
    return messages, padded, mask


def slow(resampler, rows, count):
    """One message and one head at a time, in float64."""
    wide = {name: tensor.double() for name, tensor in resampler.state_dict().items()}

    def linear(name, x):
        return x @ wide[f"{name}.weight"].T + wide[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * wide[f"{name}.weight"]
            + wide[f"{name}.bias"]
        )

    x = rows.double()
    code = torch.tensor(
        [
            [(math.sin if i % 2 == 0 else math.cos)(t / 10_000 ** (2 * (i // 2) / SIZE)) for i in range(SIZE)]
            for t in range(len(x))
        ],
        dtype=torch.float64,
    )
    queries = linear("query_map", norm("query_norm", wide["queries"][:count]))
    keys, values = linear("key_map", norm("row_norm", x) + code), linear("value_map", x)
    width = SIZE // HEADS
    distances = torch.tensor([[math.log(1 + abs(k - j)) for j in range(len(x))] for k in range(count)])
    parts = []
    for head in range(HEADS):
        chosen = slice(head * width, (head + 1) * width)
        scores = queries[:, chosen] @ keys[:, chosen].T / math.sqrt(width)
        weights = (scores - wide["fall"][head] * distances).softmax(-1)
        parts.append(weights @ values[:, chosen])
    means = linear("output_map", torch.cat(parts, dim=-1))
    inner = linear("expand", norm("inner_norm", means))
    return means + linear("contract", inner * (1 + torch.erf(inner / math.sqrt(2))) / 2)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_batch_equals_the_slow_arithmetic_of_each_message(count):
    resampler = resampler_of()
    messages, padded, mask = batch()
    found = resampler(padded, mask, count)
    for row, message in enumerate(messages):
        torch.testing.assert_close(found[row].double(), slow(resampler, message, count), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(resampler(batch(fill=1e6)[1], mask, count), found)


def test_it_begins_with_the_first_rows():
    """Every output is inside what the rows span, each weight positive, and most of output k is row k."""
    resampler = Resampler(ResamplerConfig(SIZE, queries=4, heads=1))
    resampler.begin(seed=0)
    rows = torch.eye(SIZE)[None, :6]
    out = resampler(rows, torch.ones(1, 6, dtype=torch.bool), 4)[0]
    torch.testing.assert_close(out[:, :6].sum(-1), torch.ones(4))
    assert (out[:, :6] > 0).all() and not out[:, 6:].any()
    assert out[:, :4].argmax(dim=-1).tolist() == [0, 1, 2, 3] and (out.diagonal() > 0.8).all()
    ours = [1 / (1 + abs(2 - j)) ** FALL for j in range(6)]
    torch.testing.assert_close(out[2, :6], torch.tensor(ours) / sum(ours))
    other = Resampler(ResamplerConfig(SIZE, queries=4, heads=1))
    other.begin(seed=0)
    assert all(torch.equal(a, b) for a, b in zip(resampler.parameters(), other.parameters(), strict=True))


def test_saved_and_loaded_it_is_the_same(tmp_path):
    resampler = resampler_of()
    resampler.save(tmp_path)
    loaded = Resampler.load(tmp_path)
    _, padded, mask = batch()
    assert loaded.config == resampler.config
    assert torch.equal(loaded(padded, mask, 3), resampler(padded, mask, 3))
    with pytest.raises(CheckpointError, match="holds no resampler"):
        Resampler.load(tmp_path / "elsewhere")


def test_what_it_cannot_do_is_refused():
    resampler = resampler_of()
    _, padded, mask = batch()
    for count in (0, 5):
        with pytest.raises(InputError, match=f"{count} rows asked"):
            resampler(padded, mask, count)
    with pytest.raises(InputError, match="size 11"):
        resampler(padded[..., :11], mask, 2)
    with pytest.raises(InputError, match="heads must divide"):
        ResamplerConfig(SIZE, heads=5)
