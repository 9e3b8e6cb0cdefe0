"""Many games at once in worker processes, answered in the order in which they were asked."""

import multiprocessing
from collections import OrderedDict
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from interlat.errors import InterlatError, WorldError
from interlat.worlds.alfworld import AlfworldGame
from interlat.worlds.base import Observation

Request = tuple[str, str | None]
"""(game file, command); no command starts the game anew."""


class GamePool:
    """Plays ALFWorld games in worker processes. A game stays with one worker; a context manager."""

    def __init__(self, workers: int = 2, games_kept: int = 64) -> None:
        """Args:
        workers: processes; they import no torch.
        games_kept: loaded games that one worker keeps, so that starting one of them again costs little.
        """
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, games_kept), daemon=True)
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)
        self._worker_of: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self, games: Sequence[str | Path]) -> list[Observation]:
        """Start games anew.

        Raises:
            WorldError: a game file is not playable, or a worker died.
        """
        return self._ask([(str(game), None) for game in games])

    def step(self, games: Sequence[str | Path], commands: Sequence[str]) -> list[Observation]:
        """Give each game one command.

        Raises:
            WorldError: a game was not started, or a worker died.
        """
        return self._ask([(str(game), command) for game, command in zip(games, commands, strict=True)])

    def _ask(self, requests: Sequence[Request]) -> list[Observation]:
        shares: list[list[int]] = [[] for _ in self._connections]
        for index, (game, _) in enumerate(requests):
            worker = self._worker_of.setdefault(game, len(self._worker_of) % len(self._connections))
            shares[worker].append(index)
        answers: dict[int, Observation] = {}
        for worker, share in enumerate(shares):
            if share:
                self._talk(worker, requests[share[0]][0], [requests[index] for index in share])
        for worker, share in enumerate(shares):
            if share:
                answered = self._talk(worker, requests[share[0]][0], None)
                answers.update(zip(share, answered, strict=True))
        return [answers[index] for index in range(len(requests))]

    def _talk(self, worker: int, game: str, requests: list[Request] | None) -> list[Observation]:
        connection = self._connections[worker]
        try:
            if requests is not None:
                connection.send(requests)
                return []
            answer = connection.recv()
        except (EOFError, OSError) as error:
            raise WorldError(
                f"the worker that plays {game} and others has died; run again, finished games are kept"
            ) from error
        if isinstance(answer, str):
            raise WorldError(answer)
        result: list[Observation] = answer
        return result

    def close(self) -> None:
        """End the workers."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()


def _serve(connection: Connection, games_kept: int) -> None:
    games: OrderedDict[str, AlfworldGame] = OrderedDict()
    while True:
        try:
            requests: list[Request] = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            connection.send([_answer(games, games_kept, *request) for request in requests])
        except InterlatError as error:
            connection.send(str(error))


def _answer(games: "OrderedDict[str, AlfworldGame]", games_kept: int, path: str, command: str | None) -> Observation:
    if command is not None:
        if path not in games:
            raise WorldError(f"{path} has not been started in this pool; call reset first, with games_kept large enough")
        return games[path].step(command)
    if path not in games:
        game = games.popitem(last=False)[1] if len(games) >= games_kept else AlfworldGame()
        game.load(path)
        games[path] = game
    games.move_to_end(path)
    return games[path].reset()
