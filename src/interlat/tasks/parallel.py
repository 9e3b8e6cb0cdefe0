"""Work whose results come in order: on several threads, and in processes that answer line by line."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from interlat.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 2, waiting: int | None = None
) -> Iterator[Result]:
    """``function`` of each item, in the order of the items, which are taken in this thread as they are needed.

    Args:
        waiting: items that may be under way or done before the first of them is asked for; None is twice the workers.

    Raises:
        InputError: fewer than one worker. What ``function`` raises is raised in the place of its result.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; give at least 1")
    most = waiting or 2 * workers
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            under_way.append(pool.submit(function, item))
            while under_way and (len(under_way) >= most or under_way[0].done()):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


class LineProcess:
    """A fresh interpreter that runs a module and answers with one JSON line each on its standard output.

    It imports nothing of the calling program, so a script needs no ``if __name__ == "__main__"``.

    Args:
        arguments: the module and its arguments.
        stderr: as of `subprocess.Popen`.
    """

    def __init__(self, *arguments: str, stderr: int | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self.process.stdin and self.process.stdout
        self._requests, self._answers = self.process.stdin, self.process.stdout
        self._read = b""
        """What was read behind the last answer."""

    def send(self, request: Any) -> None:
        """Write a request; that the process is gone is noticed where its answer is missing."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def receive(self, seconds: float | None = None) -> Any:
        """The next answer.

        Raises:
            EOFError: the process is gone, or the time is over.
        """
        over = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._read:
            left = None if over is None else max(0.0, over - time.monotonic())
            # A process may stop in the middle of a line, so the time is kept within it, too.
            more = os.read(self._answers.fileno(), 1 << 16) if select.select([self._answers], [], [], left)[0] else b""
            if not more:
                raise EOFError
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def finish(self) -> None:
        """Tell the process that no request follows."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def end(self, seconds: float = 0) -> None:
        """Wait so long, then kill it."""
        self.finish()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._answers.close()
