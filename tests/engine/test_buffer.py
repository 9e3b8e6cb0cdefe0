import torch

from interlat.engine.buffer import KeyValueBuffer, as_transformers_cache


def test_written_columns_come_back_and_room_is_zero():
    buffer = KeyValueBuffer(5)
    first = torch.randn(2, 1, 2, 3)
    keys, values = buffer.write(0, first, -first)
    assert torch.equal(keys, first) and torch.equal(values, -first)
    assert buffer.length == 0
    buffer.advance(2)
    second = torch.randn(2, 1, 1, 3)
    keys, _ = buffer.write(0, second, -second)
    assert torch.equal(keys, torch.cat([first, second], dim=2))
    assert buffer.keys[0][:, :, 3:].abs().sum() == 0
    assert buffer.contents()[0][0].shape == (2, 1, 2, 3)


def test_rows_leave_and_come_home():
    home = KeyValueBuffer(4)
    start = torch.randn(3, 1, 2, 2)
    home.write(0, start, start)
    home.advance(2)
    away = home.select_rows(torch.tensor([2, 0]))
    new = torch.randn(2, 1, 1, 2)
    away.write(0, new, new)
    away.advance(1)
    home.store_rows(torch.tensor([2, 0]), away, 2)
    assert home.length == 3
    assert torch.equal(home.keys[0][[2, 0], :, 2], new[:, :, 0])
    assert home.keys[0][1, :, 2].abs().sum() == 0
    assert torch.equal(home.keys[0][:, :, :2], start)


def test_transformers_sees_a_cache():
    buffer = KeyValueBuffer(4)
    cache = as_transformers_cache(buffer, 1)
    states = torch.randn(1, 1, 3, 2)
    assert cache.get_seq_length() == 0 and cache.get_mask_sizes(3, 0) == (3, 0)
    keys, _ = cache.update(states, states, 0)
    assert torch.equal(keys, states)
    buffer.advance(3)
    assert cache.get_seq_length() == 3 and cache.get_max_length() == 4
