import threading
import time

import pytest

from interlat.errors import InputError
from interlat.tasks.parallel import map_in_order


def test_results_come_in_order_however_long_they_take():
    def slow(n):
        time.sleep(0.05 * (n % 3))
        return -n

    assert list(map_in_order(slow, range(10), workers=3)) == [-n for n in range(10)]
    assert list(map_in_order(slow, [])) == []


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    results = map_in_order(lambda n: n, items(), workers=2, waiting=5)
    next(results)
    assert len(taken) <= 5


def test_what_is_done_does_not_wait_for_the_room_of_others_to_be_filled():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            time.sleep(0.01)
            yield n

    assert next(map_in_order(lambda n: n, items(), waiting=100)) == 0 and len(taken) < 50


def test_several_are_worked_on_at_once():
    barrier = threading.Barrier(3)
    assert len(list(map_in_order(lambda _: barrier.wait(10), range(3), workers=3))) == 3


def test_what_fails_is_raised_in_its_place():
    results = map_in_order(lambda n: 1 // n, [2, 1, 0])
    assert next(results) == 0 and next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="workers is 0; give at least 1"):
        list(map_in_order(str, [1], workers=0))
