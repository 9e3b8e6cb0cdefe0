"""Whether two expressions are the same, by math-verify in processes that can be killed.

math-verify's own time-outs use ``signal.alarm``, which fails outside the main thread. Here every comparison has an end,
in whichever thread it is asked for: the process gives up when it has used up its computing time, and one that does not
answer at all is killed and another one takes its place.
"""

import atexit
import contextlib
import json
import os
import queue
import select
import subprocess
import sys

from interlat.errors import InputError, InterlatError

SECONDS = 5.0
"""Of the processor for one comparison, whatever else the machine does meanwhile."""
PATIENCE = 60.0
"""Seconds by the clock until a process that does not answer is killed."""
SECONDS_TO_START = 120.0
MEMORY = 2 * 2**30
"""Bytes of address space of one process."""


class ComparisonPool:
    """Compares expressions in worker processes, which start when they are needed. Any thread may ask.

    The workers are fresh interpreters, so a script needs no ``if __name__ == "__main__"``. They end with this process.

    Args:
        workers: processes at most, and comparisons at once.
        seconds: of computing time after which a comparison is given up.
        patience: seconds by the clock after which a process is killed.

    Raises:
        InputError: fewer than one worker, or no time.
    """

    def __init__(self, workers: int = 2, seconds: float = SECONDS, patience: float = PATIENCE) -> None:
        if workers < 1 or min(seconds, patience) <= 0:
            raise InputError(
                f"workers is {workers}, seconds {seconds} and patience {patience}; give at least 1 worker and some time"
            )
        self.seconds = seconds
        self.patience = patience
        self._places: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._places.put(None)

    def same(self, gold: str, found: str) -> bool | None:
        """Whether two answers are the same; None if one cannot be read, or the time or the memory does not suffice.

        Args:
            gold: the right answer in plain LaTeX.
            found: the answer of a reply.

        Raises:
            InterlatError: the processes do not start.
        """
        worker = self._places.get()
        try:
            if worker is None:
                worker = _Worker(self.seconds)
            answered, same = worker.ask([gold, found], self.patience)
            if not answered:
                worker = None
            return same
        finally:
            self._places.put(worker)

    def close(self) -> None:
        """End the workers that wait for work; the pool can be used again."""
        for _ in range(self._places.qsize()):
            worker = self._places.get()
            if worker is not None:
                worker.end()
            self._places.put(None)


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, seconds: float) -> None:
        command = [sys.executable, "-m", "interlat.tasks.graders.symbolic_worker", str(MEMORY), str(seconds)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdin and self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        if self._answer(SECONDS_TO_START) != b'"ready"\n':
            self.end()
            raise InterlatError(
                f"the process that compares expressions did not start within {SECONDS_TO_START:g} seconds; run "
                f"`{' '.join(command)}` to see why"
            )

    def ask(self, request: list[str], patience: float) -> tuple[bool, bool | None]:
        """Whether there was an answer, and the answer. Without one the worker is gone."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode() + b"\n")
        line = self._answer(patience)
        if not line.endswith(b"\n"):
            self.end()
            return False, None
        same: bool | None = json.loads(line)
        return True, same

    def _answer(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self._answers], [], [], seconds)
        return self._answers.readline() if ready else b""

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()


_pool = ComparisonPool()


def same_expression(gold: str, found: str) -> bool | None:
    """`ComparisonPool.same` of a pool that all of this process share."""
    return _pool.same(gold, found)


atexit.register(_pool.close)
