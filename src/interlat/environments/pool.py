"""A world in worker processes: one that hangs or dies is started again, and its episodes go on where they were."""

import contextlib
import json
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from interlat import errors
from interlat.environments.protocol import EnvironmentOptions, Outcome
from interlat.errors import InputError, InterlatError, WorldError
from interlat.progress import say
from interlat.tasks.parallel import LineProcess

SECONDS = 60.0
"""The longest that one action may take."""
SECONDS_TO_LOAD = 3600.0
"""The longest that a worker may take to make its world."""
TRIES = 3
"""Times that a request is put to a worker, each time to a new one."""
_SECONDS_TO_END = 5
_SECONDS_TO_DIE = 0.5


class WorldPool:
    """Plays episodes of a world in worker processes.

    An episode is known by its item and the actions so far, and the same actions give the same outcomes: a worker that
    does not answer in time is killed, and a new one plays the episode up to the same action. What an agent did is thus
    neither lost nor counted twice, and a broken environment never looks like an agent that failed.

    Args:
        world: ``module:class`` of a `World`.
        options: what it is made of; ``workers`` is the number of processes.
        seconds: the longest that one action may take, and the plan of an expert.
        seconds_to_load: the longest that making the world may take, and naming its items.

    Raises:
        InputError: no workers.
    """

    def __init__(
        self,
        world: str,
        options: EnvironmentOptions,
        seconds: float = SECONDS,
        seconds_to_load: float = SECONDS_TO_LOAD,
    ) -> None:
        if options.workers < 1:
            raise InputError(f"workers is {options.workers}, expected at least 1")
        self._arguments = ("interlat.environments.worker", world, json.dumps(asdict(options)))
        self._seconds, self._seconds_to_load = seconds, seconds_to_load
        self._workers: list[LineProcess | None] = [None] * options.workers
        self._worker_of: dict[str, int] = {}
        self._in_play: list[set[str]] = [set() for _ in self._workers]
        """The items of each worker whose episode it has in its memory."""
        self._is_ready = [False] * options.workers
        self._was_made = False
        """Whether a worker has made the world, so that one that does not was disturbed."""

    def ask(self, *request: Any) -> Any:
        """Put one request to the first worker; its answer.

        Raises:
            InterlatError: what the world raised.
            WorldError: every worker that was asked hung or died.
        """
        self._started(0).send(list(request))
        return self._received(0, list(request), self._seconds_to_load if request == ("items",) else self._seconds)

    def play(self, items: Sequence[str], actions: Sequence[Sequence[str]]) -> list[Outcome]:
        """The outcome of the last of some actions in each item; of the start, where there are none.

        An item stays with its worker, and the workers play at the same time.

        Raises:
            InterlatError: what the world raised.
            WorldError: every worker that was asked hung or died.
        """
        queues: list[deque[int]] = [deque() for _ in self._workers]
        for index, item in enumerate(items):
            queues[self._worker_of.setdefault(item, len(self._worker_of) % len(self._workers))].append(index)
        found: dict[int, Any] = {}
        # One request a worker at a time, so that each has its own limit of time.
        while asked := [(worker, queue.popleft()) for worker, queue in enumerate(queues) if queue]:
            requests = {index: ["play", items[index], list(actions[index])] for _, index in asked}
            for worker, _ in asked:
                self._launched(worker)
            for started, index in [(self._started(worker), index) for worker, index in asked]:
                started.send(requests[index])
            # Every answer is taken before an error is raised: one left behind would answer the next request.
            refused: list[InterlatError] = []
            for worker, index in asked:
                try:
                    found[index] = self._received(worker, requests[index], self._seconds)
                except InterlatError as error:
                    refused.append(error)
                    self._in_play[worker].discard(items[index])
                else:
                    self._in_play[worker].add(items[index])
            if refused:
                raise refused[0]
        return [Outcome(**found[index]) for index in range(len(items))]

    def close(self) -> None:
        """End the workers."""
        running = [worker for worker in self._workers if worker is not None]
        for worker in running:
            worker.finish()
        for worker in running:
            worker.end(_SECONDS_TO_END)
        self._workers = [None] * len(self._workers)
        self._in_play = [set() for _ in self._workers]

    def _received(self, worker: int, request: list[Any], seconds: float) -> Any:
        """The answer to a request that was sent, from a new worker where the old one has none."""
        for number in range(TRIES):
            try:
                return _opened(self._started(worker).receive(seconds * self._actions_to_take(worker, request)))
            except EOFError:
                how = self._ended(worker)
                last = f", action {request[2][-1]!r}" if request[0] == "play" and request[2] else ""
                what = f"a worker {how} at {request[1] if len(request) > 1 else request[0]}{last}"
                if number + 1 == TRIES:
                    raise WorldError(
                        f"{what}, {TRIES} times in a row; nothing was counted as a result of it, and finished items "
                        "are kept: run again, with fewer workers if memory is short, or leave the item out"
                    ) from None
                say(f"{what}; a new one plays on from there")
                self._started(worker).send(request)
        raise AssertionError("the last try returns or raises")

    def _actions_to_take(self, worker: int, request: list[Any]) -> int:
        """How many a worker takes for a request: a new one takes those before it, too."""
        return 1 + len(request[2]) if request[0] == "play" and request[1] not in self._in_play[worker] else 1

    def _launched(self, worker: int) -> LineProcess:
        """The worker of a number, which may still be making its world."""
        running = self._workers[worker]
        if running is None:
            running = self._workers[worker] = LineProcess(*self._arguments)
            self._is_ready[worker] = False
        return running

    def _started(self, worker: int) -> LineProcess:
        """The worker of a number, with its world made."""
        for number in range(TRIES):
            running = self._launched(worker)
            if self._is_ready[worker]:
                return running
            try:
                _opened(running.receive(self._seconds_to_load))
            except EOFError:
                how = self._ended(worker)
                if not self._was_made or number + 1 == TRIES:
                    raise WorldError(f"a worker {how} before its world was made; see what it wrote above") from None
            except InterlatError:
                self._ended(worker)
                raise
            else:
                self._is_ready[worker] = self._was_made = True
        return self._launched(worker)

    def _ended(self, worker: int) -> str:
        """Kill a worker, so that the next request starts a new one; what had happened to it."""
        running = self._workers[worker]
        assert running is not None
        self._in_play[worker].clear()
        # One that died has closed its output a moment before it is gone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(_SECONDS_TO_DIE)
        code = running.process.poll()
        running.end()
        self._workers[worker] = None
        return "hung" if code is None else f"died (exit code {code})"


def _opened(answer: dict[str, Any]) -> Any:
    """What an answer holds.

    Raises:
        InterlatError: it holds an error.
    """
    if "error" in answer:
        # A world of another package may have errors of its own.
        kind: type[InterlatError] = getattr(errors, answer["kind"], WorldError)
        raise kind(answer["error"])
    return answer["answer"]
