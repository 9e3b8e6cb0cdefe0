import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from interlat.errors import InputError
from interlat.tasks.graders.symbolic import ComparisonPool, same_expression

FOREVER = "2^{2^{2^{2^{2^{2}}}}}"
"""Computed in one step, in which the process cannot give up by itself."""
LONG = r"\int_0^1 \frac{\sin(x^3+\ln(x+1))}{\sqrt{x^5+x+1}} dx"


@pytest.fixture
def pool():
    made = ComparisonPool(1, seconds=0.5, patience=2.0)
    yield made
    made.close()


def workers():
    """The processes of this one that compare."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "symbolic_worker"], capture_output=True, text=True)
    return {int(process) for process in found.stdout.split()}


def test_a_comparison_that_never_ends_is_killed_and_the_next_one_answered(pool):
    before = workers()
    assert pool.same("x+1", "1+x") is True
    (first,) = workers() - before
    began = time.perf_counter()
    assert pool.same("1", FOREVER) is None
    assert time.perf_counter() - began < 20
    assert pool.same("x+1", "2+x") is False
    assert first in workers() or len(workers() - before) == 1


def test_a_long_comparison_gives_up_by_itself_and_keeps_its_process():
    pool = ComparisonPool(1, seconds=0.5)
    before = workers()
    assert pool.same("x+1", "1+x") is True
    (worker,) = workers() - before
    assert pool.same("1", LONG) is None
    assert pool.same("x+1", "2+x") is False
    assert workers() - before == {worker}
    pool.close()


def test_a_busy_machine_changes_no_answer():
    """The limit is computing time: a process that waits for its turn loses nothing of it."""
    pool = ComparisonPool(1, seconds=0.5, patience=30.0)
    before = workers()
    assert pool.same("x+1", "1+x") is True
    (worker,) = workers() - before
    os.kill(worker, signal.SIGSTOP)
    threading.Timer(1.5, os.kill, (worker, signal.SIGCONT)).start()
    assert pool.same("x+2", "2+x") is True
    pool.close()


def test_the_end_is_hard_in_any_thread(pool):
    """math-verify's own time-out is an alarm, which only the main thread may set."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(pool.same("(x+1)^2", "x^2+2x+1"))) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: found.append(pool.same("1", FOREVER))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["None", "True", "True", "True", "True"]


def test_a_worker_that_hangs_is_killed(pool):
    before = workers()
    assert pool.same("1", "1") is True
    (worker,) = workers() - before
    os.kill(worker, signal.SIGSTOP)
    began = time.perf_counter()
    assert pool.same("2", "2") is None
    assert time.perf_counter() - began >= 2.0
    assert worker not in workers()
    assert pool.same("2", "2") is True


def test_a_worker_that_died_costs_one_verdict_and_no_run(pool):
    before = workers()
    assert pool.same("1", "1") is True
    (worker,) = workers() - before
    os.kill(worker, signal.SIGKILL)
    assert pool.same("2", "2") is None
    assert pool.same("2", "2") is True


def test_close_ends_the_workers(pool):
    before = workers()
    pool.same("1", "1")
    assert workers() - before
    pool.close()
    assert workers() == before


def test_nothing_is_left_when_the_process_ends():
    code = (
        "import os, subprocess\nfrom interlat.tasks.graders.symbolic import same_expression\n"
        "assert same_expression('x', 'x')\n"
        "found = subprocess.run(['pgrep', '-P', str(os.getpid()), '-f', 'symbolic_worker'], capture_output=True)\n"
        "print(found.stdout.decode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (worker,) = done.stdout.split()
    assert not os.path.exists(f"/proc/{worker}")


def test_a_pool_without_workers_or_time_is_refused():
    for arguments in ((0, 1.0), (1, 0.0), (1, 1.0, 0.0)):
        with pytest.raises(InputError, match="give at least 1 worker and some time"):
            ComparisonPool(*arguments)


def test_all_of_a_process_share_one_pool():
    assert same_expression("x+1", "1+x") is True and same_expression("x", "{") is None
