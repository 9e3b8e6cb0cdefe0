"""A process that plays ALFWorld games for the pool; ``python -m interlat.environments.alfworld.worker``.

One JSON list of requests a line on stdin, one JSON answer a line and request on stdout, in that order. A request is
``["reset", game]``, ``["step", game, command]`` or ``["layout", game]``; an answer has the fields of an `Observation`
or a `Layout`, or ``{"error": message}``. The process ends when stdin does.
"""

import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TextIO

from interlat.environments.alfworld.game import AlfworldGame
from interlat.errors import InterlatError, WorldError


class Games:
    """The loaded games of one worker, the one played longest ago first."""

    def __init__(self, games_kept: int) -> None:
        self._games_kept = games_kept
        self._games: OrderedDict[str, AlfworldGame] = OrderedDict()

    def answer(self, request: list[str]) -> dict[str, Any]:
        """Do what a request asks.

        Raises:
            InterlatError: the game is not playable, was not started or is over.
        """
        match request:
            case ["reset", path]:
                return asdict(self._loaded(path).reset())
            case ["layout", path]:
                layout = self._loaded(path).layout()
                return {**asdict(layout), "openable": sorted(layout.openable)}
            case ["step", path, command] if path in self._games:
                return asdict(self._loaded(path).step(command))
            case ["step", path, _]:
                raise WorldError(
                    f"{path} is not in play: start it with reset, and give the pool games_kept of at least "
                    "the number of games played at once"
                )
        raise WorldError(f"a worker got a request that it does not know: {request}")

    def _loaded(self, path: str) -> AlfworldGame:
        if path not in self._games:
            game = AlfworldGame()
            game.load(path)
            self._games[path] = game
            if len(self._games) > self._games_kept:
                self._games.popitem(last=False)[1].close()
        self._games.move_to_end(path)
        return self._games[path]


def serve(requests: TextIO, games_kept: int) -> Iterator[str]:
    """Answer requests line by line until there are no more."""
    games = Games(games_kept)
    for line in requests:
        for request in json.loads(line):
            try:
                answer = games.answer(request)
            except InterlatError as error:
                answer = {"error": str(error)}
            yield json.dumps(answer)


def main() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle; then stdin ends
    # The engine's native code and the packages may print: only answers may go where the answers go.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for answer in serve(sys.stdin, int(sys.argv[1])):
        answers.write(answer + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
