"""Registries: parts by name, our own and those of other packages.

Another package adds a part without a change here, with an entry point in its own ``pyproject.toml``::

    [project.entry-points."interlat.channels"]
    whisper = "their_package.whisper:WhisperChannel"

or, in a script, with ``CHANNELS.add("whisper", WhisperChannel)``.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from interlat.errors import InputError

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Named parts of one kind.

    Args:
        kind: the kind in the plural, such as ``channels``. The group of its entry points is ``interlat.<kind>``.
        ours: ``module:attribute`` by name for the parts of this package. They are imported at their first use.
    """

    def __init__(self, kind: str, ours: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._places: dict[str, Callable[[], Part]] = {}
        for name, place in (ours or {}).items():
            self._places[name] = EntryPoint(name, place, f"interlat.{kind}").load
        self._found = False

    def add(self, name: str, part: Part) -> Part:
        """Add a part under a name.

        Raises:
            InputError: the name is already taken.
        """
        if name in self.names():
            raise InputError(f"there is already one of the {self.kind} called {name!r}; choose another name")
        self._places[name] = lambda: part
        return part

    def names(self) -> tuple[str, ...]:
        """All names: our own, then those of other packages."""
        if not self._found:
            self._found = True
            for point in sorted(entry_points(group=f"interlat.{self.kind}")):
                self._places.setdefault(point.name, point.load)
        return tuple(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Part:
        """The part of this name.

        Raises:
            InputError: there is no part of this name. The error lists the names.
        """
        if name not in self.names():
            raise InputError(f"there is no {name!r} among the {self.kind}; take one of {', '.join(self.names())}")
        return self._places[name]()
