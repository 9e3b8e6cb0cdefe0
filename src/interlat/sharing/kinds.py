"""What can be shared, and how a folder or a repository is recognised by its files."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from interlat.errors import InputError
from interlat.hub import RepositoryType

KindName = Literal["agent", "connector", "store"]
CARD_FILE = "README.md"
WITH_EVERY_KIND = rf"{re.escape(CARD_FILE)}|LICENSE(\.md|\.txt)?"
"""Files that go with any kind."""


@dataclass(frozen=True)
class Description:
    """What a card says of a folder; nothing that is not in its files."""

    about: str
    """What it is, in a few sentences."""
    use: str
    """Lines of Python that load it."""
    tags: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Rows of a table."""
    base_model: str = ""
    """Hub id of the model that it is an addition to; empty where it is none, or none is known."""
    more: str = ""
    """A paragraph behind the table."""


class Kind(ABC):
    """One kind of folder that can be shared."""

    name: ClassVar[KindName]
    repository_type: ClassVar[RepositoryType]
    files: ClassVar[re.Pattern[str]]
    """The paths that are shared; everything else in a folder stays where it is."""
    wanted: ClassVar[str]
    """What a folder of this kind holds, for error texts."""

    @abstractmethod
    def is_in(self, names: Collection[str]) -> bool:
        """Whether these are the files of this kind."""

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Refuse a folder that is not whole.

        Raises:
            InterlatError: says what is missing or damaged.
        """

    @abstractmethod
    def describe(self, folder: Path, repository: str) -> Description:
        """What the card says of a folder that has been checked."""

    @abstractmethod
    def use(self, folder: Path) -> str:
        """How a folder that was downloaded is used, in one line."""

    def shared(self, names: Collection[str]) -> list[str]:
        """Those of some paths that are shared, in order."""
        return sorted(name for name in names if self.files.fullmatch(name))


def all_kinds() -> tuple[Kind, ...]:
    """The kinds; a folder with a model is an agent, whatever connectors are beside the model."""
    from interlat.sharing.agents import AgentKind
    from interlat.sharing.connectors import ConnectorKind
    from interlat.sharing.stores import StoreKind

    return StoreKind(), AgentKind(), ConnectorKind()


def kind_named(name: KindName) -> Kind:
    """The kind of that name."""
    return next(kind for kind in all_kinds() if kind.name == name)


def kind_among(names: Collection[str], place: str) -> Kind | None:
    """The kind that some files are; None where they are none.

    Raises:
        InputError: they are a store and an agent at once.
    """
    found = [kind for kind in all_kinds() if kind.is_in(names)]
    if len(found) > 1 and found[0].name == "store":
        raise InputError(
            f"{place} holds a latent store and {found[1].wanted}; share each of them from a folder of its own"
        )
    return found[0] if found else None


def kind_of_folder(folder: Path) -> Kind:
    """The kind of a folder.

    Raises:
        InputError: there is no such folder, or it is none that can be shared; says what it looks like instead.
    """
    if not folder.is_dir():
        found = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
        raise InputError(f"{found}; give the folder of an agent, a connector or a latent store")
    kind = kind_among(paths_in(folder), str(folder))
    if kind is None:
        expected = ", ".join(f"{kind.name} ({kind.wanted})" for kind in all_kinds())
        raise InputError(f"{folder} is nothing that can be shared; expected {expected}{_hint(folder)}")
    return kind


def paths_in(folder: Path) -> list[str]:
    """The paths of all files in a folder and of its folders, but for hidden ones."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


_HINTS: tuple[tuple[str, Callable[[Path], bool], str], ...] = (
    ("a training", lambda folder: (folder / "model").is_dir(), "give the folder {folder}/model"),
    (
        "the output of an evaluation",
        lambda folder: any(folder.glob("results*.jsonl")),
        "give it as --results beside the folder of the agent",
    ),
)


def _hint(folder: Path) -> str:
    for what, looks_so, advice in _HINTS:
        if looks_so(folder):
            return f". It looks like {what}: {advice.format(folder=folder)}"
    return ""
