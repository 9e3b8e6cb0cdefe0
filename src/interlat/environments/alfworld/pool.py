"""Many games at once in worker processes, answered in the order in which they were asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from interlat.environments.alfworld.game import Layout
from interlat.environments.protocol import Observation
from interlat.errors import InputError, WorldError
from interlat.tasks.parallel import LineProcess

_SECONDS_TO_END = 5


class GamePool:
    """Plays ALFWorld games in worker processes. A game stays with one worker; a context manager.

    The workers import neither torch nor the calling program, so it works in scripts and notebooks, too.

    Args:
        workers: processes.
        games_kept: loaded games that one worker keeps, at least as many as it plays at once. Starting a kept game
            again costs little.

    Raises:
        InputError: no workers, or none of the games kept.
    """

    def __init__(self, workers: int = 2, games_kept: int = 64) -> None:
        if workers < 1 or games_kept < 1:
            raise InputError(f"workers is {workers} and games_kept {games_kept}; both must be at least 1")
        module = "interlat.environments.alfworld.worker"
        self._workers = [LineProcess(module, str(games_kept)) for _ in range(workers)]
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
        return [_observation(answer) for answer in self._ask([["reset", str(game)] for game in games])]

    def step(self, games: Sequence[str | Path], commands: Sequence[str]) -> list[Observation]:
        """Give each game one command.

        Raises:
            WorldError: a game was not started or is over, or a worker died.
        """
        requests = [["step", str(game), command] for game, command in zip(games, commands, strict=True)]
        return [_observation(answer) for answer in self._ask(requests)]

    def layouts(self, games: Sequence[str | Path]) -> list[Layout]:
        """Where everything is at the start of each game; a game in progress goes on.

        Raises:
            WorldError: a game file is not playable, or a worker died.
        """
        return [
            Layout(**{**answer, "receptacles": tuple(answer["receptacles"]), "openable": frozenset(answer["openable"])})
            for answer in self._ask([["layout", str(game)] for game in games])
        ]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.finish()
        for worker in self._workers:
            worker.end(_SECONDS_TO_END)

    def _ask(self, requests: Sequence[list[str]]) -> list[dict[str, Any]]:
        shares: list[list[int]] = [[] for _ in self._workers]
        for index, (_, game, *_) in enumerate(requests):
            number = self._worker_of.setdefault(game, len(self._worker_of) % len(self._workers))
            shares[number].append(index)
        busy = [(worker, share) for worker, share in zip(self._workers, shares, strict=True) if share]
        for worker, share in busy:
            worker.send([requests[index] for index in share])
        # Every answer is taken before an error is raised: one left behind would answer the next request.
        answers = {index: _answer(worker, requests[index][1]) for worker, share in busy for index in share}
        for answer in answers.values():
            if "error" in answer:
                raise WorldError(answer["error"])
        return [answers[index] for index in range(len(requests))]


def _answer(worker: LineProcess, game: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = worker.receive()
    except EOFError as error:
        raise WorldError(
            f"the worker process that played {game} has died (exit code {worker.process.wait()}); "
            "run again, finished games are kept; with little memory use fewer workers"
        ) from error
    return answer


def _observation(answer: dict[str, Any]) -> Observation:
    return Observation(**{**answer, "admissible_commands": tuple(answer["admissible_commands"])})
