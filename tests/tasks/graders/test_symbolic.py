import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from interlat.tasks.graders import symbolic
from interlat.tasks.graders.symbolic import ComparisonPool, compare, same_expression

FOREVER = "2^{2^{2^{2^{2^{2}}}}}"
"""Computed in one step, in which the process cannot give up by itself."""
LONG = r"\int_0^1 \frac{\sin(x^3+\ln(x+1))}{\sqrt{x^5+x+1}} dx"


OTHERS = set()
"""Workers that other tests of this process have left behind."""


@pytest.fixture(scope="module")
def shared_pool():
    symbolic._pool.close()
    OTHERS.update(workers())
    made = ComparisonPool(1, seconds=0.5)
    yield made
    made.close()


@pytest.fixture
def pool(shared_pool):
    """Patient, however busy the machine is; a test that waits for a kill makes it impatient for that comparison."""
    shared_pool.patience = 60.0
    return shared_pool


def workers():
    """The processes of this one that compare."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "graders.symbolic"], capture_output=True, text=True)
    return {int(process) for process in found.stdout.split()} - OTHERS


def worker_of(pool):
    """The one process of a pool, started if there is none."""
    assert pool.same("x+1", "1+x") is True
    (worker,) = workers()
    return worker


def impatient(pool, gold, found):
    """A comparison that is killed after half a second by the clock."""
    pool.patience = 0.5
    same = pool.same(gold, found)
    pool.patience = 60.0
    return same


def test_a_comparison_that_never_ends_is_killed_and_the_next_one_answered(pool):
    first = worker_of(pool)
    assert impatient(pool, "1", FOREVER) is None
    assert pool.same("x+1", "2+x") is False
    assert first not in workers() and len(workers()) == 1


def test_a_long_comparison_gives_up_by_itself_and_keeps_its_process(pool):
    worker = worker_of(pool)
    assert pool.same("1", LONG) is None
    assert pool.same("x+1", "2+x") is False
    assert workers() == {worker}


def test_a_busy_machine_changes_no_answer(pool):
    """The limit is computing time: a process that waits for its turn loses nothing of it."""
    worker = worker_of(pool)
    os.kill(worker, signal.SIGSTOP)
    threading.Timer(0.8, os.kill, (worker, signal.SIGCONT)).start()
    assert pool.same("x+2", "2+x") is True
    assert workers() == {worker}


def test_the_end_is_hard_in_any_thread(pool):
    """math-verify's own time-out is an alarm, which only the main thread may set."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(pool.same("(x+1)^2", "x^2+2x+1"))) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: found.append(pool.same("1", LONG))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["None", "True", "True", "True", "True"]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_worker_that_hangs_or_died_costs_one_verdict_and_no_run(pool, how):
    worker = worker_of(pool)
    os.kill(worker, how)
    assert impatient(pool, "2", "2") is None
    assert worker not in workers()
    assert pool.same("2", "2") is True


def test_close_ends_the_workers(pool):
    worker_of(pool)
    pool.close()
    assert workers() == set()


def test_nothing_is_left_when_the_process_ends():
    code = (
        "import os, subprocess\nfrom interlat.tasks.graders.symbolic import same_expression\n"
        "assert same_expression('x', 'x')\n"
        "found = subprocess.run(['pgrep', '-P', str(os.getpid()), '-f', 'graders.symbolic'], capture_output=True)\n"
        "print(found.stdout.decode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (worker,) = done.stdout.split()
    assert not os.path.exists(f"/proc/{worker}")


def test_all_of_a_process_share_one_pool(pool):
    pool.close()
    assert same_expression("x+1", "1+x") is True and same_expression("x", "{") is None


@pytest.mark.parametrize(
    ("gold", "found", "same"),
    [
        ("(x+1)^2", "x^2+2x+1", True),
        (r"(-\infty, 2]", r"x \le 2", True),
        ("x", "y", False),
        (r"\pi", "3.14159265", False),
        ("7", "7y-2/{", None),
    ],
)
def test_expressions_are_compared(gold, found, same):
    assert compare(gold, found) is same


def test_it_answers_line_by_line_and_survives_what_cannot_be_computed():
    asked = [["1", "1"], ["1", "(" * 400 + "1" + ")" * 400], ["1", LONG], ["2", "1+1"]]
    done = subprocess.run(
        [sys.executable, "-m", "interlat.tasks.graders.symbolic", str(2**29), "0.5"],
        input="".join(json.dumps(one) + "\n" for one in asked),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == ["ready", True, None, None, True]
