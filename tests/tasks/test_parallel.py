import threading
import time

import pytest

from interlat.errors import InputError
from interlat.tasks.parallel import LineProcess, map_in_order


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


ANSWERS = """
import sys, time
for line in sys.stdin:
    parts = line.strip().strip('"').replace("/", chr(10)).split("|")
    for part in parts:
        print(part, end="", flush=True)
    time.sleep(600 if "stop" in line else 0)
"""


@pytest.fixture
def process(tmp_path, monkeypatch):
    (tmp_path / "answering.py").write_text(ANSWERS)
    monkeypatch.syspath_prepend(tmp_path)
    made = LineProcess("answering")
    yield made
    made.process.kill()
    made.end()


def test_answers_come_line_by_line_however_they_were_written(process):
    process.send("1/[2]/")
    assert [process.receive(60), process.receive(60)] == [1, [2]]
    process.send("{|}|/")
    assert process.receive(60) == {}


def test_a_process_that_stops_in_the_middle_of_a_line_is_given_up_in_time(process):
    process.send("1/stop")
    assert process.receive(60) == 1
    began = time.monotonic()
    with pytest.raises(EOFError):
        process.receive(0.5)
    assert 0.4 < time.monotonic() - began < 60


def test_one_that_ends_is_noticed_behind_its_last_answer(process):
    process.send("1/2/3")
    process.finish()
    assert [process.receive(), process.receive(60)] == [1, 2]
    with pytest.raises(EOFError):
        process.receive(60)
