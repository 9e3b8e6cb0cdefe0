"""Whether two expressions are the same, by math-verify in processes that can be killed.

math-verify's own time-outs use ``signal.alarm``, which fails outside the main thread. Here every comparison has an end,
in whichever thread it is asked for: the process gives up when it has used up its computing time, and one that does not
answer at all is killed and another one takes its place.

The process is ``python -m interlat.tasks.graders.symbolic MEMORY SECONDS``. One JSON line a request on standard input,
``[right answer, found answer]``; one line an answer: true, false, or null for what cannot be read as an expression or
takes more than SECONDS of the processor's time, so that no answer depends on what else the machine does. The first line
says that it is ready.
"""

import atexit
import json
import logging
import os
import queue
import resource
import signal
import subprocess
import sys

from interlat.errors import InterlatError
from interlat.tasks.parallel import LineProcess

SECONDS = 5.0
"""Of the processor for one comparison, whatever else the machine does meanwhile."""
PATIENCE = 60.0
"""Seconds by the clock until a process that does not answer is killed."""
SECONDS_TO_START = 120.0
MEMORY = 2 * 2**30
"""Bytes of address space of one process."""


class ComparisonPool:
    """Compares expressions in worker processes, which start when they are needed and end with this one. Any thread may
    ask.

    Args:
        workers: processes at most, and comparisons at once; at least 1.
        seconds: of computing time after which a comparison is given up.
        patience: seconds by the clock after which a process is killed.
    """

    def __init__(self, workers: int = 2, seconds: float = SECONDS, patience: float = PATIENCE) -> None:
        self.seconds, self.patience = seconds, patience
        self._places: queue.LifoQueue[LineProcess | None] = queue.LifoQueue()
        for _ in range(workers):
            self._places.put(None)

    def same(self, gold: str, found: str) -> bool | None:
        """Whether two answers in plain LaTeX are the same; None if one cannot be read, or the time or the memory does
        not suffice.

        Raises:
            InterlatError: the processes do not start.
        """
        worker = self._places.get()
        try:
            worker = worker or self._started()
            worker.send([gold, found])
            same: bool | None = worker.receive(self.patience)
            return same
        except EOFError:
            if worker:
                worker.end()
            worker = None
            return None
        finally:
            self._places.put(worker)

    def _started(self) -> LineProcess:
        command = ["interlat.tasks.graders.symbolic", str(MEMORY), str(self.seconds)]
        worker = LineProcess(*command, stderr=subprocess.DEVNULL)
        try:
            worker.receive(SECONDS_TO_START)
        except EOFError as error:
            worker.end()
            raise InterlatError(
                f"the process that compares expressions did not start within {SECONDS_TO_START:g} seconds; run "
                f"`{sys.executable} -m {' '.join(command)}` to see why"
            ) from error
        return worker

    def close(self) -> None:
        """End the workers that wait for work; the pool can be used again."""
        for _ in range(self._places.qsize()):
            if worker := self._places.get():
                worker.end()
            self._places.put(None)


_pool = ComparisonPool()
atexit.register(_pool.close)


def same_expression(gold: str, found: str) -> bool | None:
    """`ComparisonPool.same` of a pool that all of this process share."""
    return _pool.same(gold, found)


class _OutOfTimeError(BaseException):
    """Ends a comparison; no Exception, since sympy and math-verify catch those."""


def compare(gold: str, found: str) -> bool | None:
    """Whether two answers in plain LaTeX are the same expression; the right one first, as the comparison is not
    symmetric."""
    from interlat.tasks.graders.expressions import read, same

    expressions = [read(text) for text in (gold, found)]
    return None if any(expression is None for expression in expressions) else same(*expressions)


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    memory, seconds = int(arguments[0]), float(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # It warns once a process that its time-out is off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    compare("1", "1")
    signal.signal(signal.SIGVTALRM, _stop)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        same = None
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
            same = compare(*json.loads(line))
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except (_OutOfTimeError, MemoryError, RecursionError, ArithmeticError):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        print(json.dumps(same), file=answers, flush=True)


def _stop(*_: object) -> None:
    raise _OutOfTimeError


if __name__ == "__main__":
    main(sys.argv[1:])
