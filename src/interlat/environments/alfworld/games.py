"""Many episodes in one process: as many loaded games as are kept; the others are played again where they go on."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from interlat.environments.alfworld.game import AlfworldGame
from interlat.environments.protocol import Observation
from interlat.errors import InputError

GAMES_KEPT = 64
"""More than are played side by side by default."""


class LoadedGames:
    """Loaded games, the one played longest ago first.

    A game serves one episode at a time. Where another one took it, or it gave way to other games, the episode's
    commands are given again; the engine answers the same.

    Args:
        kept: most games at a time.

    Raises:
        InputError: fewer than one.
    """

    def __init__(self, kept: int = GAMES_KEPT) -> None:
        if kept < 1:
            raise InputError(f"kept is {kept}, expected at least 1")
        self._kept = kept
        self._games: OrderedDict[Path, AlfworldGame] = OrderedDict()
        self._episode_in: dict[Path, int] = {}
        self._begun = 0

    def begun(self, path: Path) -> tuple[int, Observation]:
        """A new episode of a game: its number, and what it shows first.

        Raises:
            WorldError: the game is not playable.
        """
        self._begun += 1
        opening = self.loaded(path).reset()
        self._episode_in[path] = self._begun
        return self._begun, opening

    def step(self, number: int, path: Path, taken: Sequence[str], command: str) -> Observation:
        """Give one command in an episode in which others have been given before.

        Raises:
            WorldError: the game is not playable.
            InputError: it is won.
        """
        game = self.loaded(path)
        if self._episode_in.get(path) != number:
            game.reset()
            for one in taken:
                game.step(one)
            self._episode_in[path] = number
        return game.step(command)

    def loaded(self, path: Path) -> AlfworldGame:
        """A game, loaded; an episode may be going on in it.

        Raises:
            WorldError: it is not playable.
        """
        game = self._games.pop(path, None)
        if game is None:
            while len(self._games) >= self._kept:
                left, given_up = self._games.popitem(last=False)
                self._episode_in.pop(left, None)
                given_up.close()
            game = AlfworldGame()
            game.load(path)
        self._games[path] = game
        return game

    def reset(self, path: Path) -> Observation:
        """Start a game anew for a player of our own; an episode in it is played again when it goes on."""
        self._episode_in.pop(path, None)
        return self.loaded(path).reset()
