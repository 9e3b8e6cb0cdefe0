import gc
from pathlib import Path

import pytest
import torch

from interlat.engine import pages
from interlat.engine.pages import empty_room, return_free_memory

MEGABYTE = 2**20


def resident():
    """Bytes of this process that lie in memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("own_pages", [1, 2**40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_room_is_zero_and_can_be_written(own_pages, dtype):
    room = empty_room((2, 3, 5, 7), torch.ones(1, dtype=dtype), own_pages)
    assert room.shape == (2, 3, 5, 7) and room.dtype == dtype and room.is_contiguous()
    assert not room.any()
    other = empty_room((2, 3, 5, 7), room, own_pages)
    room[1, 2] = 4
    assert room.sum() == 4 * 35 and not other.any()
    view = room[1]
    del room
    gc.collect()
    assert view.sum() == 4 * 35


def test_large_room_costs_nothing_before_it_is_written_and_goes_back_at_once():
    # A block of this size that was freed makes glibc keep all smaller ones.
    warm = torch.ones(7 * MEGABYTE)
    del warm
    before = resident()
    rooms, between = [], []
    for _ in range(12):
        rooms.append(empty_room((8, MEGABYTE // 4), torch.ones(1)))
        between.append(torch.ones(50_000))
    assert resident() - before < 30 * MEGABYTE
    for room in rooms:
        room.fill_(1)
    assert resident() - before > 90 * MEGABYTE
    rooms.clear()
    del room
    assert resident() - before < 30 * MEGABYTE


def test_free_blocks_of_the_heap_go_back():
    warm = torch.ones(7 * MEGABYTE)
    del warm
    blocks, between = [], []
    for _ in range(40):
        blocks.append(torch.ones(MEGABYTE // 2))
        between.append(torch.ones(100))
    full = resident()
    blocks.clear()
    return_free_memory()
    assert full - resident() > 60 * MEGABYTE


def test_a_system_without_that_function_is_left_alone(monkeypatch):
    monkeypatch.setattr(pages, "_trim", lambda: None)
    return_free_memory()
