"""A process that plays a world for a pool: ``python -m interlat.environments.worker MODULE:WORLD OPTIONS``.

One JSON request a line on stdin, one JSON answer a line on stdout, in that order. The first answer, without a request,
is that the world is made. A request is ``["items"]``, ``["expert", item]``, ``["random", item, seed]`` (of a world that
`PlaysAtRandom`) or ``["play", item, actions]``. A play answers with the outcome of the last action, or of the start
where there are no actions. An answer is ``{"answer": ...}`` or ``{"error": message, "kind": name of the exception}``.
The process ends when stdin does.
"""

import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import EntryPoint
from typing import Any, TextIO

from interlat.environments.protocol import EnvironmentOptions, Outcome
from interlat.environments.world import Episode, PlaysAtRandom, World
from interlat.errors import InterlatError, WorldError

EPISODES_KEPT = 1000
"""Episodes that go on where they are; an older one is played again from its start, to the same outcome."""


class Answers:
    """What a worker answers about one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._episodes: OrderedDict[str, tuple[Episode, tuple[str, ...]]] = OrderedDict()

    def answer(self, request: Sequence[Any]) -> Any:
        """Do what a request asks; the answer as JSON.

        Raises:
            InterlatError: what the world raises, or an unknown request.
        """
        match request:
            case ["items"]:
                return {"origin": dict(self._world.origin), "items": [asdict(item) for item in self._world.items()]}
            case ["expert", str(item)]:
                return list(self._world.expert(item))
            case ["random", str(item), int(seed)] if isinstance(self._world, PlaysAtRandom):
                return list(self._world.random(item, seed))
            case ["play", str(item), list(actions)]:
                return asdict(self._play(item, tuple(actions)))
        raise WorldError(f"a worker got a request that it does not know: {request}")

    def _play(self, item: str, actions: tuple[str, ...]) -> Outcome:
        episode, taken = self._episodes.pop(item, (None, ()))
        if episode is None or not actions or taken != actions[:-1]:
            # A new episode, or one that another process had begun: what was taken before is taken again.
            episode = self._world.episode(item)
            outcome = episode.start()
            for action in actions[:-1]:
                episode.step(action)
        if actions:
            outcome = episode.step(actions[-1])
        self._episodes[item] = (episode, actions)
        if len(self._episodes) > EPISODES_KEPT:
            self._episodes.popitem(last=False)
        return outcome


def serve(make: Callable[[], World], requests: TextIO) -> Iterator[str]:
    """Make the world, say so, and answer requests line by line until there are no more."""
    try:
        answers = Answers(make())
    except InterlatError as error:
        yield _refusal(error)
        return
    yield json.dumps({"answer": "ready"})
    for line in requests:
        try:
            yield json.dumps({"answer": answers.answer(json.loads(line))})
        except InterlatError as error:
            yield _refusal(error)


def _refusal(error: InterlatError) -> str:
    return json.dumps({"error": str(error), "kind": type(error).__name__})


def main() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle; then stdin ends
    # Packages may print: only answers may go where the answers go.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    place, fields = sys.argv[1], json.loads(sys.argv[2])
    options = EnvironmentOptions(**{**fields, "data": tuple(fields["data"])})
    for answer in serve(lambda: EntryPoint("world", place, "interlat.worlds").load()(options), sys.stdin):
        out.write(answer + "\n")
        out.flush()


if __name__ == "__main__":
    main()
